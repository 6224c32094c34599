//! A source that counts the bytes read from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hdf5_pure::{FormatError, Source};

/// The number of bytes read from a [`CountingSource`] so far.
#[derive(Clone, Debug, Default)]
pub(super) struct ByteCount(Arc<AtomicU64>);

impl ByteCount {
    /// Calls `read`; returns its result and the number of bytes that it read.
    pub(super) fn during<T>(&self, read: impl FnOnce() -> T) -> (T, u64) {
        let before = self.0.load(Ordering::Relaxed);
        let result = read();
        (result, self.0.load(Ordering::Relaxed) - before)
    }
}

/// A source whose reads are counted in a [`ByteCount`].
pub(super) struct CountingSource<S> {
    inner: S,
    count: ByteCount,
}

impl<S> CountingSource<S> {
    /// Counts the bytes read from `inner` in `count`.
    pub(super) fn new(inner: S, count: ByteCount) -> Self {
        Self { inner, count }
    }
}

impl<S: Source> Source for CountingSource<S> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FormatError> {
        self.count.0.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.inner.read_at(offset, buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use hdf5_pure::ReadSeekSource;

    use super::*;

    #[test]
    fn every_way_of_reading_counts() {
        let count = ByteCount::default();
        let source = CountingSource::new(ReadSeekSource::new(Cursor::new([7; 100])).unwrap(), count.clone());
        let (read, bytes) = count.during(|| source.read_exact_at(1, 10).unwrap().len() + source.len() as usize);
        assert_eq!((read, bytes), (110, 10));
        assert_eq!(count.during(|| source.read_metadata_at(0, 3).unwrap()), (vec![7; 3], 3));
    }
}
