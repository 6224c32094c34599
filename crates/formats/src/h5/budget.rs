//! The memory budget of an open HDF5 file, shared by all its reads.

use std::cell::Cell;

use hdf5_pure::{Dataset, Layout};

use super::H5Error;
use super::convert_error::convert_error;

/// Bytes of bookkeeping per chunk while a chunked dataset is read (an estimate).
const CHUNK_RECORD: u64 = 128;

/// The bytes left for all further reads of one file.
#[derive(Debug)]
pub(super) struct Budget {
    left: Cell<u64>,
}

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        Self { left: Cell::new(bytes) }
    }

    /// Subtracts the memory that reading a dataset will take: `width` bytes per value, or more if the file's type is wider.
    ///
    /// # Errors
    /// The dataset takes more than is left, or its data lies outside the file of `file_len` bytes.
    pub(super) fn admit(&self, path: &str, dataset: &Dataset, width: u64, file_len: u64) -> Result<(), H5Error> {
        let damaged = |error| convert_error(path, "dataset", error);
        let layout = dataset.layout().map_err(damaged)?;
        if layout == Layout::Virtual {
            return Err(H5Error::Outside { path: path.to_owned(), what: "a virtual dataset" });
        }
        let width = width.max(dataset.element_size().map_err(damaged)?);
        let declared = declared_bytes(&dataset.shape().map_err(damaged)?, &layout, width);
        let left = self.left.get();
        if declared > left {
            return Err(H5Error::Budget { path: path.to_owned(), declared, left });
        }
        self.left.set(left - declared);
        if let Layout::Chunked { .. } = layout {
            let shape = dataset.shape().map_err(damaged)?;
            for chunk in dataset.chunks().map_err(damaged)? {
                let refused = |reason| Err(H5Error::damaged(path, reason));
                // The HDF5 crate allocates the compressed chunk before it finds bytes missing.
                if chunk.storage_size > file_len {
                    return refused(format!("a chunk of {} bytes in a file of {file_len}", chunk.storage_size));
                }
                // The HDF5 crate computes the offset of the values without overflow checks.
                if chunk.offset.iter().zip(&shape).any(|(at, len)| at >= len) {
                    return refused(format!("a chunk at {:?} of shape {shape:?}", chunk.offset));
                }
            }
        }
        Ok(())
    }
}

/// Bytes that the values take in memory, or one chunk if that is larger, plus bookkeeping.
fn declared_bytes(shape: &[u64], layout: &Layout, width: u64) -> u64 {
    let product = |dims: &[u64]| dims.iter().copied().fold(1, u64::saturating_mul);
    let values = product(shape).saturating_mul(width);
    let Layout::Chunked { chunk_shape, .. } = layout else { return values };
    // A chunk is always decompressed completely, even when it is larger than the dataset.
    let chunk = product(chunk_shape).saturating_mul(width);
    let counts: Vec<u64> = shape.iter().zip(chunk_shape).map(|(&n, &size)| n.div_ceil(size.max(1))).collect();
    values.max(chunk).saturating_add(product(&counts).saturating_mul(CHUNK_RECORD))
}

#[cfg(test)]
mod tests {
    use hdf5_pure::ChunkIndex;

    use super::*;

    #[test]
    fn chunks_count_whole_and_with_their_records() {
        let chunked = |chunk: &[u64]| Layout::Chunked { chunk_shape: chunk.to_vec(), index: ChunkIndex::BTreeV1 };
        assert_eq!(declared_bytes(&[10, 3], &Layout::Compact { size: 120 }, 4), 120);
        assert_eq!(declared_bytes(&[10, 3], &chunked(&[4, 2]), 4), 120 + 6 * CHUNK_RECORD);
        assert_eq!(declared_bytes(&[1], &chunked(&[1000]), 4), 4000 + CHUNK_RECORD);
        assert_eq!(declared_bytes(&[u64::MAX, 2], &chunked(&[0, 1]), 4), u64::MAX);
        assert_eq!(declared_bytes(&[], &Layout::Compact { size: 4 }, 4), 4, "a scalar");
    }
}
