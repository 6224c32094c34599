//! Positioned reads of a file, by several threads if they are large, for f32 datasets and for checksums.
//!
//! On a little-endian machine, uncompressed little-endian f32 values have the same bytes in the file and in memory. Reading them
//! in parallel, without a conversion of each value, makes loading a model of half a gigabyte much faster. `h5::h5_file` reads
//! datasets with a [`ParallelReader`], and `archive` computes checksums.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};

/// Bytes that a thread reads at a time.
const BLOCK: usize = 1 << 20;

/// Bytes that a thread reads at a time to compute their checksum. They are still in the core's cache then, and their memory is
/// reused for the next block instead of going back to the system.
const CHECKSUM_BLOCK: usize = 64 << 10;

/// The smallest dataset, in values, that is read like this. It takes 16 KiB. The HDF5 crate reads a larger one into bytes first, and
/// then converts each value.
pub(crate) const MIN_VALUES: usize = 4 << 10;

/// An open file (or the part of it from an offset on) for reads that leave the file position alone.
#[derive(Clone, Debug)]
pub(crate) struct ParallelReader {
    file: Arc<File>,
    start: u64,
}

impl ParallelReader {
    /// A parallel reader of `file`; `None` on big-endian or non-Unix systems, or if the handle can't be duplicated.
    pub(crate) fn of(file: &File) -> Option<Self> {
        let file = if cfg!(all(unix, target_endian = "little")) { file.try_clone().ok()? } else { return None };
        Some(Self { file: Arc::new(file), start: 0 })
    }

    /// A reader of the same file whose offset 0 is at `start`.
    pub(crate) fn skip(self, start: u64) -> Self {
        Self { start: self.start + start, ..self }
    }

    /// Fills `values` with the little-endian f32 values at `offset`.
    pub(crate) fn read_f32(&self, offset: u64, values: &mut [f32]) -> io::Result<()> {
        let blocks = values.chunks_mut(BLOCK / size_of::<f32>()).enumerate();
        in_parallel(blocks, |(index, values)| {
            self.read_at(offset + (index * BLOCK) as u64, bytemuck::cast_slice_mut(values))
        })
    }

    /// The CRC-32 checksum, as in zip archives, of the first `len` bytes.
    pub(crate) fn crc32(&self, len: u64) -> io::Result<u32> {
        let blocks = (0..len).step_by(CHECKSUM_BLOCK).enumerate();
        let hashers = Mutex::new(Vec::new());
        in_parallel(blocks, |(index, offset)| {
            let mut bytes = vec![0; CHECKSUM_BLOCK.min(usize::try_from(len - offset).unwrap_or(CHECKSUM_BLOCK))];
            self.read_at(offset, &mut bytes)?;
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&bytes);
            hashers.lock().expect("pushing does not panic").push((index, hasher));
            Ok(())
        })?;
        let mut hashers = hashers.into_inner().expect("pushing does not panic");
        hashers.sort_by_key(|(index, _)| *index);
        let mut combined = crc32fast::Hasher::new();
        hashers.iter().for_each(|(_, hasher)| combined.combine(hasher));
        Ok(combined.finalize())
    }

    #[cfg(unix)]
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&*self.file, bytes, self.start + offset)
    }

    #[cfg(not(unix))]
    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Calls `work` for every block, on up to four threads. A thread stops at its first error; one of the errors is returned.
fn in_parallel<T>(blocks: impl Iterator<Item = T> + Send, work: impl Fn(T) -> io::Result<()> + Sync) -> io::Result<()> {
    // Four threads saturate the memory bandwidth; more gain nothing.
    const THREADS: usize = 4;
    // Asking the system for the number of cores takes longer than reading a block.
    let threads = match blocks.size_hint().0 {
        0 | 1 => 1,
        blocks => std::thread::available_parallelism().map_or(1, usize::from).min(THREADS).min(blocks),
    };
    let blocks = Mutex::new(blocks.fuse());
    let next = || blocks.lock().expect("taking does not panic").next();
    let run = || std::iter::from_fn(next).try_for_each(&work);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let own = run();
        others.into_iter().map(|other| other.join().expect("reading does not panic")).fold(own, Result::and)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file_of(bytes: &[u8]) -> ParallelReader {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        ParallelReader::of(&file).unwrap()
    }

    #[test]
    fn pieces_come_to_their_places() {
        let values: Vec<f32> = (0..3 * BLOCK / size_of::<f32>() + 5).map(|i| i as f32).collect();
        let bytes = [b"some", bytemuck::cast_slice::<_, u8>(&values)].concat();
        let reader = file_of(&bytes).skip(4);
        let mut read = vec![0.0; values.len() - 2];
        reader.read_f32(8, &mut read).unwrap();
        assert!(read == values[2..]);
        assert_eq!(reader.crc32(bytes.len() as u64 - 4).unwrap(), crc32fast::hash(&bytes[4..]));
        assert_eq!(reader.crc32(0).unwrap(), 0);
    }

    #[test]
    fn the_end_of_the_file_is_an_error() {
        let error = file_of(&[0; 10]).read_f32(0, &mut [0.0; 3]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(file_of(&[0; 10]).crc32(11).is_err());
    }
}
