//! Limits on ONNX files.

/// The length that a file must stay below. A protobuf message is shorter than 2 GiB, and so is a model in a single file.
pub(super) const MAX_FILE_LEN: u64 = 1 << 31;

/// The most initializers that a file may have; no real model has as many.
///
/// An empty tensor takes two bytes in the file but about a hundred in memory, so the file's length doesn't limit the memory.
pub(super) const MAX_INITIALIZERS: usize = 1 << 16;
