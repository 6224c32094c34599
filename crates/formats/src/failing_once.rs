//! [`FailingOnce`]: a writer that reports its first error and none after it.

use std::io::{self, Seek, SeekFrom, Write};

/// A writer that passes on its first error, and then discards all that is written.
///
/// `ZipWriter` completes an archive when it is dropped, also after a failed write. On a full disk that fails again, and it prints
/// the error to standard error. Below this writer it doesn't fail, so nothing is printed. The file is thrown away by
/// [`atomic::write`](crate::atomic::write), which received the first error.
pub(crate) struct FailingOnce<W> {
    inner: W,
    failed: bool,
    /// The position in the file, and its length. After the failure they count what would be there.
    position: u64,
    len: u64,
}

impl<W> FailingOnce<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, failed: false, position: 0, len: 0 }
    }

    /// Calls `action` unless one has failed before; then returns `discarded`.
    fn unless_failed<T>(&mut self, discarded: T, action: impl FnOnce(&mut W) -> io::Result<T>) -> io::Result<T> {
        if self.failed {
            return Ok(discarded);
        }
        let result = action(&mut self.inner);
        self.failed = result.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        result
    }

    fn moved_to(&mut self, position: u64) {
        self.position = position;
        self.len = self.len.max(position);
    }
}

impl<W: Write> Write for FailingOnce<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.unless_failed(bytes.len(), |inner| inner.write(bytes))?;
        self.moved_to(self.position + written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_failed((), W::flush)
    }
}

impl<W: Seek> Seek for FailingOnce<W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
        };
        let position = self.unless_failed(position.ok_or(io::ErrorKind::InvalidInput)?, |inner| inner.seek(to))?;
        self.moved_to(position);
        Ok(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for this many bytes.
    struct Disk(usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Disk {
        fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
            panic!("a failed writer isn't used again")
        }
    }

    #[test]
    fn only_the_first_error_is_reported() {
        let mut writer = FailingOnce::new(Disk(3));
        writer.write_all(b"abc").unwrap();
        assert_eq!(writer.write_all(b"d").unwrap_err().kind(), io::ErrorKind::StorageFull);
        writer.write_all(b"completes the archive").unwrap();
        writer.flush().unwrap();
    }

    #[test]
    fn positions_go_on_after_the_failure() {
        let mut writer = FailingOnce::new(Disk(3));
        writer.write_all(b"abc").unwrap();
        writer.write_all(b"d").unwrap_err();
        writer.write_all(b"efgh").unwrap();
        assert_eq!(writer.stream_position().unwrap(), 7);
        assert_eq!(writer.seek(SeekFrom::Start(2)).unwrap(), 2);
        assert_eq!(writer.seek(SeekFrom::End(-1)).unwrap(), 6);
    }
}
