//! What the datasets of a file may make its reader allocate.

use std::cell::Cell;

use hdf5_pure::{Dataset, Layout};

use super::H5Error;
use super::translate::translate;

/// Bytes that the record of one chunk takes while a dataset is read.
const CHUNK_RECORD: u64 = 128;

/// Bytes that all reads of one file may still take together.
#[derive(Debug)]
pub(super) struct Budget {
    left: Cell<u64>,
}

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        Self { left: Cell::new(bytes) }
    }

    /// Takes the bytes of a dataset, whose values will be held in at least `width` bytes each, or
    /// refuses it: for its declared sizes, or because its data isn't in the file of `file_len`
    /// bytes.
    pub(super) fn admit(&self, path: &str, dataset: &Dataset, width: u64, file_len: u64) -> Result<(), H5Error> {
        let damaged = |error| translate(path, "dataset", error);
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
                // Room for a stored chunk is made before its bytes are found missing.
                if chunk.storage_size > file_len {
                    return refused(format!("a chunk of {} bytes in a file of {file_len}", chunk.storage_size));
                }
                // Where its values go is computed without looking for overflow.
                if chunk.offset.iter().zip(&shape).any(|(at, len)| at >= len) {
                    return refused(format!("a chunk at {:?} of shape {shape:?}", chunk.offset));
                }
            }
        }
        Ok(())
    }
}

/// The bytes that values of this shape take, and the largest piece they are read in.
fn declared_bytes(shape: &[u64], layout: &Layout, width: u64) -> u64 {
    let product = |dims: &[u64]| dims.iter().copied().fold(1, u64::saturating_mul);
    let values = product(shape).saturating_mul(width);
    let Layout::Chunked { chunk_shape, .. } = layout else { return values };
    // A chunk is decompressed as a whole, even when the dataset is smaller.
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
