//! Photos into tensors: folders, decoding, orientation, resizing, splits, batches.
