//! Transfer learning for image classifiers, in Rust.
