//! A reader that keeps the blocks that it has read, for many small reads of neighbouring bytes.
//!
//! Reading one array of an HDF5 file takes dozens of small reads: of every group on its path, and of its header. The paths of the
//! next array share most of them. Without a cache each read is a call of the system.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};

/// Bytes of a block. Blocks begin at multiples of it.
const BLOCK: usize = 8 << 10;

/// The most blocks kept: 8 MiB. The metadata of a network with a thousand layers takes about 2 MiB.
const BLOCKS: usize = 1024;

/// A reader with a cache. Reads of a block or more are passed on.
#[derive(Debug)]
pub(super) struct BlockCache<R> {
    inner: R,
    position: u64,
    /// The bytes of the blocks by their number. The last block of a file is shorter than others.
    blocks: HashMap<u64, Vec<u8>>,
}

impl<R: Read + Seek> BlockCache<R> {
    /// A reader of `inner` from its current position on, with an empty cache.
    pub(super) fn new(mut inner: R) -> io::Result<Self> {
        let position = inner.stream_position()?;
        Ok(Self { inner, position, blocks: HashMap::new() })
    }

    /// The bytes of a block: from the cache, or read and cached.
    fn block(&mut self, number: u64) -> io::Result<&[u8]> {
        if !self.blocks.contains_key(&number) {
            let mut bytes = Vec::with_capacity(BLOCK);
            self.inner.seek(SeekFrom::Start(number * BLOCK as u64))?;
            self.inner.by_ref().take(BLOCK as u64).read_to_end(&mut bytes)?;
            // A full cache starts afresh. A file is read mostly from front to back, so no choice of a single block is better.
            if self.blocks.len() == BLOCKS {
                self.blocks.clear();
            }
            self.blocks.insert(number, bytes);
        }
        Ok(&self.blocks[&number])
    }
}

impl<R: Read + Seek> Read for BlockCache<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = if buffer.len() >= BLOCK {
            self.inner.seek(SeekFrom::Start(self.position))?;
            self.inner.read(buffer)?
        } else {
            let (number, offset) = (self.position / BLOCK as u64, (self.position % BLOCK as u64) as usize);
            self.block(number)?.get(offset..).unwrap_or_default().read(buffer)?
        };
        self.position += read as u64;
        Ok(read)
    }
}

impl<R: Read + Seek> Seek for BlockCache<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = match to {
            SeekFrom::Start(position) => position,
            SeekFrom::Current(by) => self.position.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?,
            SeekFrom::End(_) => self.inner.seek(to)?,
        };
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    /// A reader that counts its reads.
    struct Counting<R>(R, Rc<Cell<usize>>);

    impl<R: Read> Read for Counting<R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1.set(self.1.get() + 1);
            self.0.read(buffer)
        }
    }

    impl<R: Seek> Seek for Counting<R> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn every_range_has_the_bytes_of_the_file() {
        let bytes: Vec<u8> = (0..(BLOCKS + 3) * BLOCK + 100).map(|i| (i * 7 / 5) as u8).collect();
        let mut cache = BlockCache::new(io::Cursor::new(&bytes)).unwrap();
        // Twice: the second time some blocks are cached and others have been replaced.
        for start in (0..bytes.len()).step_by(BLOCK / 3 + 1).chain((0..bytes.len()).step_by(BLOCK - 1)) {
            for len in [0, 1, 100, BLOCK - 1, BLOCK, 2 * BLOCK] {
                let end = bytes.len().min(start + len);
                let mut read = vec![0; end - start];
                cache.seek(SeekFrom::Start(start as u64)).unwrap();
                cache.read_exact(&mut read).unwrap();
                assert!(read == bytes[start..end], "{start}..{end}");
            }
        }
        assert!(cache.blocks.len() <= BLOCKS);
    }

    #[test]
    fn small_reads_of_one_place_read_the_file_once() {
        let reads = Rc::default();
        let mut cache = BlockCache::new(Counting(io::Cursor::new([5; 1000]), Rc::clone(&reads))).unwrap();
        for start in [0, 10, 900, 0] {
            cache.seek(SeekFrom::Start(start)).unwrap();
            cache.read_exact(&mut [0; 50]).unwrap();
        }
        // `read_to_end` reads until there is nothing left.
        assert_eq!(reads.get(), 2);
    }

    #[test]
    fn the_end_of_the_file_is_the_end() {
        let mut cache = BlockCache::new(io::Cursor::new(b"0123456789")).unwrap();
        assert_eq!(cache.seek(SeekFrom::End(-3)).unwrap(), 7);
        let mut text = String::new();
        cache.read_to_string(&mut text).unwrap();
        assert_eq!(text, "789");
        assert_eq!(cache.seek(SeekFrom::Current(-9)).unwrap(), 1);
        assert!(cache.seek(SeekFrom::Current(-2)).is_err());
        cache.seek(SeekFrom::Start(99)).unwrap();
        assert_eq!(cache.read(&mut [0; 4]).unwrap(), 0);
        assert!(cache.read_exact(&mut [0; 4]).is_err());
    }
}
