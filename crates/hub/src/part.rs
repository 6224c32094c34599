//! A file that has arrived in part.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use crate::HubError;
use crate::hub::disk;

/// The bytes of a file that have arrived, and those that arrive.
pub(crate) struct Part<'a> {
    path: &'a Path,
    file: File,
    length: u64,
}

impl<'a> Part<'a> {
    /// Goes on with the file at `path`, or begins it.
    pub(crate) fn open(path: &'a Path) -> Result<Self, HubError> {
        let written = |error| disk(path, "written")(error);
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(written)?;
        let length = file.seek(SeekFrom::End(0)).map_err(written)?;
        Ok(Self { path, file, length })
    }

    /// How many bytes have arrived.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(disk(self.path, "written"))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Forgets what has arrived.
    pub(crate) fn restart(&mut self) -> Result<(), HubError> {
        self.length = 0;
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(disk(self.path, "written"))
    }

    /// Returns once the bytes are on the disk, and not just promised.
    pub(crate) fn sync(&self) -> Result<(), HubError> {
        self.file.sync_all().map_err(disk(self.path, "written"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_part_goes_on_where_it_ended_and_can_begin_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        Part::open(&path).unwrap().append(b"one").unwrap();
        let mut part = Part::open(&path).unwrap();
        assert_eq!(part.length(), 3);
        part.append(b"two").unwrap();
        assert_eq!((part.length(), fs::read(&path).unwrap()), (6, b"onetwo".to_vec()));
        part.restart().unwrap();
        part.append(b"3").unwrap();
        part.sync().unwrap();
        assert_eq!((part.length(), fs::read(&path).unwrap()), (1, b"3".to_vec()));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Part::open(folder.path()).err().unwrap();
        assert!(matches!(&error, HubError::Disk { path, action: "written", .. } if path == folder.path()), "{error}");
    }

    /// Every write to this device fails as on a full disk.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_that_says_what_to_do() {
        let error = Part::open(Path::new("/dev/full")).unwrap().append(b"x").unwrap_err().to_string();
        assert!(error.starts_with("/dev/full: can't be written: ") && error.contains("make room"), "{error}");
    }
}
