//! Numeric kernels of engraft: slices in, slices out.
