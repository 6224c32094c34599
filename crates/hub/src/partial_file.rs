//! The `.part` file of an unfinished download, to which later attempts append.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use crate::HubError;
use crate::error::disk_error;

/// A partly downloaded file, open for appending.
pub(crate) struct PartialFile<'a> {
    path: &'a Path,
    file: File,
    length: u64,
}

impl<'a> PartialFile<'a> {
    /// Opens the file at `path` to append to it; creates it if it is missing.
    pub(crate) fn open(path: &'a Path) -> Result<Self, HubError> {
        let written = |error| disk_error(path, "written")(error);
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(written)?;
        let length = file.seek(SeekFrom::End(0)).map_err(written)?;
        Ok(Self { path, file, length })
    }

    /// The number of bytes downloaded so far.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(disk_error(self.path, "written"))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Deletes all bytes downloaded so far.
    pub(crate) fn restart(&mut self) -> Result<(), HubError> {
        self.length = 0;
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(disk_error(self.path, "written"))
    }

    /// Flushes the file to disk (`fsync`), so that a crash after the following rename can't leave an empty file.
    pub(crate) fn sync(&self) -> Result<(), HubError> {
        self.file.sync_all().map_err(disk_error(self.path, "written"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_part_goes_on_where_it_ended_and_can_begin_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.part");
        PartialFile::open(&path).unwrap().append(b"one").unwrap();
        let mut partial = PartialFile::open(&path).unwrap();
        assert_eq!(partial.length(), 3);
        partial.append(b"two").unwrap();
        assert_eq!((partial.length(), fs::read(&path).unwrap()), (6, b"onetwo".to_vec()));
        partial.restart().unwrap();
        partial.append(b"3").unwrap();
        partial.sync().unwrap();
        assert_eq!((partial.length(), fs::read(&path).unwrap()), (1, b"3".to_vec()));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = PartialFile::open(folder.path()).err().unwrap();
        assert!(matches!(&error, HubError::Disk { path, action: "written", .. } if path == folder.path()), "{error}");
    }

    /// Every write to this device fails as on a full disk.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_that_says_what_to_do() {
        let error = PartialFile::open(Path::new("/dev/full")).unwrap().append(b"x").unwrap_err().to_string();
        assert!(error.starts_with("/dev/full: can't be written: ") && error.contains("free disk space"), "{error}");
    }
}
