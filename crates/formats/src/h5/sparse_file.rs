//! A sparse in-memory file: the layout of an HDF5 file without the values of its large datasets.
//!
//! `hdf5_pure` wants a copy of every value in memory, which would double the memory of a model. So `h5_writer` gives it
//! zeros for large datasets: never touched, they cost address space but no memory. `hdf5_pure` writes the finished file to a
//! [`SparseFile`], which drops blocks of zeros. `h5_writer` then reads the [`SparseFile`] as HDF5, for the offset of each
//! dataset's values.

use std::collections::BTreeMap;
use std::io::{self, Write};

use hdf5_pure::{FormatError, Source};

/// A file that stores only the writes that contain a non-zero byte, keyed by offset. Everything else reads as zeros.
#[derive(Debug, Clone, Default)]
pub(super) struct SparseFile {
    runs: BTreeMap<u64, Vec<u8>>,
    len: u64,
}

impl SparseFile {
    /// Copies the bytes of `range` to `output`.
    pub(super) fn copy(&self, range: std::ops::Range<u64>, output: &mut impl Write) -> io::Result<()> {
        let mut block = [0; 8192];
        let mut start = range.start;
        while start < range.end {
            let size = (range.end - start).min(block.len() as u64) as usize;
            self.read_at(start, &mut block[..size]).map_err(io::Error::other)?;
            output.write_all(&block[..size])?;
            start += size as u64;
        }
        Ok(())
    }
}

impl Write for SparseFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.iter().any(|&byte| byte != 0) {
            self.runs.insert(self.len, bytes.to_vec());
        }
        self.len += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for SparseFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FormatError> {
        let end = offset.saturating_add(buffer.len() as u64);
        if end > self.len {
            return Err(FormatError::Source(format!("bytes {offset}..{end} of a file of {}", self.len)));
        }
        buffer.fill(0);
        // Of the runs that start at or before `offset`, only the last can overlap the buffer.
        let first = self.runs.range(..=offset).next_back().map_or(offset, |(&start, _)| start);
        for (&start, run) in self.runs.range(first..end) {
            let (from, to) = (start.max(offset), (start + run.len() as u64).min(end));
            if from < to {
                buffer[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&run[(from - start) as usize..(to - start) as usize]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_copies_what_was_written() {
        let mut sparse = SparseFile::default();
        let written = [vec![1, 2, 3], vec![0; 20_000], vec![4; 10], vec![0, 5], vec![0; 3]];
        written.iter().for_each(|part| sparse.write_all(part).unwrap());
        let all = written.concat();

        for start in [0, 1, 2, 3, 4, 19_999, 20_003, 20_010, 20_014, 20_015] {
            for end in [start, start + 1, start + 9, all.len()] {
                let Some(expected) = all.get(start..end) else { continue };
                let mut received = Vec::new();
                sparse.copy(start as u64..end as u64, &mut received).unwrap();
                assert_eq!(received, expected, "{start}..{end}");
            }
        }
        assert_eq!(sparse.runs.len(), 3, "runs of zeros are dropped");
        assert!(sparse.read_at(20_010, &mut [0; 100]).is_err());
    }
}
