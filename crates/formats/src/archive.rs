//! Zip archives, which `.keras` and `.npz` files are: entries read within limits, never unpacked to disk.

use std::fmt::Display;
use std::io::{self, Read, Seek, SeekFrom};

use engraft_nn::{Error, ErrorKind, Result};
use zip::read::ZipFile;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use crate::error::{at, io_kind_of_reading};
use crate::h5::{Direct, H5File};
use crate::{budget, pickle};

/// Entries of an archive. Keras writes three; layers with vocabularies add a few assets.
const MAX_ENTRIES: usize = 1000;

/// How errors name the archive as a whole.
const PLACE: &str = "archive";

/// An archive open for reading.
pub(crate) struct Zip<R> {
    entries: ZipArchive<R>,
    /// Bytes of the whole file.
    len: u64,
}

impl<R: Read + Seek + Send + 'static> Zip<R> {
    /// Opens an archive that should be `what`, and checks its directory.
    pub(crate) fn new(mut file: R, what: &str) -> Result<Self> {
        pickle::refuse(&mut file)?;
        let failed = |error| Error::from_io("file", error);
        let len = file.seek(SeekFrom::End(0)).map_err(failed)?;
        file.rewind().map_err(failed)?;
        let not_a_zip = |error: ZipError| {
            Error::new(PLACE, what, &error)
                .with_kind(kind(&error))
                .caused_by(error)
                .hint("is the file complete, and is it the right one?")
        };
        let mut zip = Self { entries: ZipArchive::new(file).map_err(not_a_zip)?, len };
        if zip.entries.len() > MAX_ENTRIES {
            return Err(Error::new(PLACE, format_args!("at most {MAX_ENTRIES} entries"), zip.entries.len()));
        }
        if zip.entries.has_duplicate_names() {
            return Err(Error::because(PLACE, "two entries of one name: which of them counts is unclear"));
        }
        (0..zip.entries.len()).try_for_each(|index| zip.check_entry(index))?;
        Ok(zip)
    }

    /// An entry is a file or a folder inside the archive. Nothing is unpacked here, but an archive that says otherwise
    /// was made to do harm, and so is one of PyTorch.
    fn check_entry(&mut self, index: usize) -> Result<()> {
        let entry = self.entries.by_index_raw(index).map_err(|error| unreadable(PLACE, error))?;
        let name = entry.name().map_err(|error| unreadable(PLACE, error))?;
        let place = place(&name);
        let harm = "is it from a source that you trust? what can be read here has no such entries";
        if leaves_archive(&name) {
            return Err(Error::new(place, "a name inside the archive", format_args!("`{name}`")).hint(harm));
        }
        if entry.is_symlink() {
            return Err(Error::new(place, "a file", "a link").hint(harm));
        }
        if name.rsplit('/').next() == Some("data.pkl") {
            return Err(pickle::error());
        }
        Ok(())
    }

    /// Bytes that may be made of the archive.
    pub(crate) fn budget(&self) -> u64 {
        budget::of_file(self.len)
    }

    /// The names of all entries, in the archive's order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.entries.file_names().flatten().map(Into::into).collect()
    }

    /// An entry read into memory, at most `limit` bytes of it; `None` if there is no such entry.
    pub(crate) fn read(&mut self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let place = place(name);
        if self.entries.index_for_name(name).is_none() {
            return Ok(None);
        }
        let mut entry = self.entry(name)?;
        check_size(&place, entry.size(), limit)?;
        let mut bytes = Vec::new();
        // What is declared and what is stored may differ: both are limited.
        entry.by_ref().take(limit + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&place, error.into()))?;
        check_size(&place, bytes.len() as u64, limit)?;
        Ok(Some(bytes))
    }

    /// Like [`read`](Self::read), for an entry that must be there.
    pub(crate) fn require(&mut self, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.read(name, limit)?.ok_or_else(|| self.missing(name))
    }

    /// The HDF5 file in an entry, after its checksum was found right. Stored as it is, it is read
    /// in place, `direct` being the archive's file; deflated, which Keras doesn't, it is held in memory, and
    /// what is made of it is measured by what stands in the archive.
    pub(crate) fn into_h5(mut self, name: &str, direct: Option<Direct>) -> Result<H5File> {
        let place = place(name);
        if self.entries.index_for_name(name).is_none() {
            return Err(self.missing(name));
        }
        let budget = self.budget();
        let mut entry = self.entry(name)?;
        let hdf5 = |error| at(&place, error);
        if entry.compression() != CompressionMethod::Stored {
            let limit = budget::of_file(entry.compressed_size());
            drop(entry);
            return H5File::from_bytes(self.require(name, limit)?).map(|file| file.with_budget(budget)).map_err(hdf5);
        }
        let start = entry.data_start().ok_or_else(|| damaged(&place, "no data"))?;
        let direct = direct.map(|file| file.skip(start));
        let len = match &direct {
            Some(direct)
                if direct.crc32(entry.size()).map_err(|error| unreadable(&place, error.into()))? != entry.crc32() =>
            {
                return Err(damaged(&place, "Invalid checksum"));
            }
            Some(_) => entry.size(),
            None => io::copy(&mut entry, &mut io::sink()).map_err(|error| unreadable(&place, error.into()))?,
        };
        drop(entry);
        let section = Section { inner: self.entries.into_inner(), start, len, position: 0 };
        H5File::from_reader(section).map(|file| file.with_direct(direct)).map_err(hdf5)
    }

    fn entry(&mut self, name: &str) -> Result<ZipFile<'_, R>> {
        let place = place(name);
        self.entries.by_name(name).map_err(|error| unreadable(&place, error))
    }

    fn missing(&self, name: &str) -> Error {
        let names: Vec<_> = self.entries.file_names().flatten().take(10).collect();
        Error::new(PLACE, format_args!("an entry `{name}`"), format_args!("entries {names:?}"))
            .hint("a .keras file holds config.json, metadata.json and model.weights.h5")
    }
}

/// Whether a name, taken as a path, leads out of the folder it is unpacked in, on whatever system.
fn leaves_archive(name: &str) -> bool {
    let absolute = name.starts_with(['/', '\\']) || name.as_bytes().get(1) == Some(&b':');
    absolute || name.split(['/', '\\']).any(|part| part == "..")
}

fn place(entry: &str) -> String {
    format!("entry `{entry}`")
}

fn check_size(place: &str, size: u64, limit: u64) -> Result<()> {
    if size > limit {
        return Err(Error::new(place, format_args!("at most {limit} bytes"), format_args!("{size} or more")));
    }
    Ok(())
}

fn damaged(place: &str, error: impl Display) -> Error {
    Error::because(place, format_args!("damaged or unsupported: {error}")).with_kind(ErrorKind::InvalidData)
}

fn unreadable(place: &str, error: ZipError) -> Error {
    damaged(place, &error).with_kind(kind(&error)).caused_by(error)
}

fn kind(error: &ZipError) -> ErrorKind {
    match error {
        ZipError::Io(error) => io_kind_of_reading(error),
        ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_) => ErrorKind::Unsupported,
        _ => ErrorKind::InvalidData,
    }
}

/// A part of a reader, as a reader of its own.
struct Section<R> {
    inner: R,
    start: u64,
    len: u64,
    position: u64,
}

impl<R: Read + Seek> Read for Section<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.len.saturating_sub(self.position);
        let size = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.inner.seek(SeekFrom::Start(self.start + self.position))?;
        let read = self.inner.read(&mut buffer[..size])?;
        self.position += read as u64;
        Ok(read)
    }
}

impl<R: Seek> Seek for Section<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_ends_where_its_entry_ends() {
        let mut section = Section { inner: io::Cursor::new(b"before,entry,after"), start: 7, len: 5, position: 0 };
        let mut text = String::new();
        section.read_to_string(&mut text).unwrap();
        assert_eq!(text, "entry");
        assert_eq!(section.seek(SeekFrom::End(-3)).unwrap(), 2);
        text.clear();
        section.read_to_string(&mut text).unwrap();
        assert_eq!(text, "try");
        assert!(section.seek(SeekFrom::Current(-6)).is_err());
        section.seek(SeekFrom::Start(99)).unwrap();
        assert_eq!(section.read(&mut [0; 4]).unwrap(), 0);
    }
}
