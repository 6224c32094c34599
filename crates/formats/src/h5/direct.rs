//! Reading the bytes of a file from several threads, straight to where they belong.
//!
//! Half a gigabyte of weights lies in the file as it will lie in memory. Read in order through a buffer and converted number by
//! number, it takes longer than the prediction that it is for.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};

/// Bytes that a thread reads at a time: they stay in its cache until they are used.
const PIECE: usize = 1 << 20;

/// Values worth reading in this way.
pub(crate) const WORTHWHILE: usize = PIECE / size_of::<f32>();

/// An open file, from some place on, that is read without moving its position.
#[derive(Clone, Debug)]
pub(crate) struct Direct {
    file: Arc<File>,
    start: u64,
}

impl Direct {
    /// Nothing where the system can't do it or the handle can't be shared.
    pub(crate) fn of(file: &File) -> Option<Self> {
        let file = if cfg!(all(unix, target_endian = "little")) { file.try_clone().ok()? } else { return None };
        Some(Self { file: Arc::new(file), start: 0 })
    }

    /// The same file from `start` on.
    pub(crate) fn skip(self, start: u64) -> Self {
        Self { start: self.start + start, ..self }
    }

    /// Little-endian values that stand at `at`.
    pub(crate) fn read_f32(&self, at: u64, values: &mut [f32]) -> io::Result<()> {
        let piece = PIECE / size_of::<f32>();
        let pieces = values.chunks_mut(piece).enumerate();
        in_parallel(pieces, |(index, values)| {
            self.read_at(at + (index * PIECE) as u64, bytemuck::cast_slice_mut(values))
        })
    }

    /// The checksum, as zip archives have it, of the first `len` bytes.
    pub(crate) fn crc32(&self, len: u64) -> io::Result<u32> {
        let pieces = (0..len).step_by(PIECE).enumerate();
        let parts = Mutex::new(Vec::new());
        in_parallel(pieces, |(index, at)| {
            let mut bytes = vec![0; PIECE.min(usize::try_from(len - at).unwrap_or(PIECE))];
            self.read_at(at, &mut bytes)?;
            let mut part = crc32fast::Hasher::new();
            part.update(&bytes);
            parts.lock().expect("pushing does not panic").push((index, part));
            Ok(())
        })?;
        let mut parts = parts.into_inner().expect("pushing does not panic");
        parts.sort_by_key(|(index, _)| *index);
        let mut whole = crc32fast::Hasher::new();
        parts.iter().for_each(|(_, part)| whole.combine(part));
        Ok(whole.finalize())
    }

    #[cfg(unix)]
    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&*self.file, bytes, self.start + at)
    }

    #[cfg(not(unix))]
    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Does `work` for every piece, on a few threads; the first error ends it.
fn in_parallel<T>(pieces: impl Iterator<Item = T> + Send, work: impl Fn(T) -> io::Result<()> + Sync) -> io::Result<()> {
    // More threads than this do not make memory faster.
    const THREADS: usize = 4;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    let pieces = Mutex::new(pieces.fuse());
    let next = || pieces.lock().expect("taking does not panic").next();
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

    fn file_of(bytes: &[u8]) -> Direct {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Direct::of(&file).unwrap()
    }

    #[test]
    fn pieces_come_to_their_places() {
        let values: Vec<f32> = (0..3 * WORTHWHILE + 5).map(|i| i as f32).collect();
        let bytes = [b"some", bytemuck::cast_slice::<_, u8>(&values)].concat();
        let direct = file_of(&bytes).skip(4);
        let mut read = vec![0.0; values.len() - 2];
        direct.read_f32(8, &mut read).unwrap();
        assert!(read == values[2..]);
        assert_eq!(direct.crc32(bytes.len() as u64 - 4).unwrap(), crc32fast::hash(&bytes[4..]));
        assert_eq!(direct.crc32(0).unwrap(), 0);
    }

    #[test]
    fn the_end_of_the_file_is_an_error() {
        let error = file_of(&[0; 10]).read_f32(0, &mut [0.0; 3]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(file_of(&[0; 10]).crc32(11).is_err());
    }
}
