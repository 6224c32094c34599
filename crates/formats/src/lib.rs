//! Model files: Keras archives and HDF5 weights, read and written.

pub mod h5;
