//! The reader of zip archives: `.keras` and `.npz` files.
//!
//! Nothing is unpacked to disk. Entries are read into memory within limits; an uncompressed HDF5 entry is read in place.

use std::fmt::Display;
use std::io::{self, Read, Seek, SeekFrom};

use engraft_nn::{Error, ErrorKind, Result, io_reason};
use zip::read::ZipFile;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use crate::error::{at, io_kind_of_reading};
use crate::h5::{H5File, ParallelReader};
use crate::{expansion, pickle};

/// Limit on the number of entries. Keras writes three; layers with vocabularies add a few assets.
const MAX_ENTRIES: usize = 1000;

/// The first bytes of an archive with entries.
const SIGNATURE: &[u8] = b"PK\x03\x04";

/// The place named in errors that concern no single entry.
const PLACE: &str = "archive";

/// A zip archive open for reading.
pub(crate) struct Zip<R> {
    entries: ZipArchive<R>,
    /// Length of the archive in bytes.
    len: u64,
}

impl<R: Read + Seek + Send + 'static> Zip<R> {
    /// Opens an archive and refuses duplicate and unsafe entries. `what` is the expected kind of file, for errors.
    pub(crate) fn new(mut file: R, what: &str) -> Result<Self> {
        pickle::refuse(&mut file)?;
        let failed = |error| Error::from_io("file", error);
        let mut start = Vec::new();
        file.by_ref().take(SIGNATURE.len() as u64).read_to_end(&mut start).map_err(failed)?;
        let len = file.seek(SeekFrom::End(0)).map_err(failed)?;
        file.rewind().map_err(failed)?;
        let not_a_zip = |error: ZipError| {
            // The zip crate names the record that it misses, which says less than this.
            let received = match error {
                ZipError::InvalidArchive(_) if start == SIGNATURE => {
                    "a zip archive that is damaged or cut short".to_owned()
                }
                ZipError::InvalidArchive(_) => "another kind of file, or one that is cut short".to_owned(),
                _ => reason(&error),
            };
            Error::new(PLACE, what, received)
                .with_kind(kind(&error))
                .caused_by(error)
                .hint("is the file complete, and is it the right one?")
        };
        let mut zip = Self { entries: ZipArchive::new(file).map_err(not_a_zip)?, len };
        if zip.entries.len() > MAX_ENTRIES {
            return Err(Error::new(PLACE, format_args!("at most {MAX_ENTRIES} entries"), zip.entries.len()));
        }
        if zip.entries.has_duplicate_names() {
            return Err(Error::because(PLACE, "two entries have the same name, so it is unclear which one to read"));
        }
        (0..zip.entries.len()).try_for_each(|index| zip.check_entry(index))?;
        Ok(zip)
    }

    /// Returns an error if an entry is a link, has a name that leads out of the archive, or is `data.pkl`, PyTorch's pickle.
    ///
    /// Nothing is unpacked to disk, so such links and names would do no harm here. They are refused because only a malicious
    /// file has them.
    fn check_entry(&mut self, index: usize) -> Result<()> {
        let entry = self.entries.by_index_raw(index).map_err(|error| unreadable(PLACE, error))?;
        let name = entry.name().map_err(|error| unreadable(PLACE, error))?;
        let place = place(&name);
        let harm = "do you trust the source of this file? model files never have such entries";
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

    /// Limit on the bytes that all entries together take in memory, from the archive's length.
    pub(crate) fn expansion_limit(&self) -> u64 {
        expansion::limit(self.len)
    }

    /// The names of all entries, in archive order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.entries.file_names().flatten().map(Into::into).collect()
    }

    /// Reads an entry of at most `limit` bytes into memory; `None` if there is no such entry.
    pub(crate) fn read(&mut self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let place = place(name);
        if self.entries.index_for_name(name).is_none() {
            return Ok(None);
        }
        let mut entry = self.entry(name)?;
        check_size(&place, entry.size(), limit)?;
        let mut bytes = Vec::new();
        // The declared size may be false, so the bytes that arrive are limited too.
        entry.by_ref().take(limit + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&place, error.into()))?;
        check_size(&place, bytes.len() as u64, limit)?;
        Ok(Some(bytes))
    }

    /// Like [`read`](Self::read), but a missing entry is an error.
    pub(crate) fn require(&mut self, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.read(name, limit)?.ok_or_else(|| self.missing(name))
    }

    /// Opens the HDF5 file in an entry, after checking the entry's checksum.
    ///
    /// An uncompressed entry, as Keras writes it, is read in place. `parallel` is a second reader of the archive file, for
    /// large datasets. A deflated entry is decompressed into memory first, up to a limit set by its compressed size.
    pub(crate) fn into_h5(mut self, name: &str, parallel: Option<ParallelReader>) -> Result<H5File> {
        let place = place(name);
        if self.entries.index_for_name(name).is_none() {
            return Err(self.missing(name));
        }
        let budget = self.expansion_limit();
        let mut entry = self.entry(name)?;
        let hdf5 = |error| at(&place, error);
        if entry.compression() != CompressionMethod::Stored {
            let limit = expansion::limit(entry.compressed_size());
            drop(entry);
            return H5File::from_bytes(self.require(name, limit)?).map(|file| file.with_budget(budget)).map_err(hdf5);
        }
        let start = entry.data_start().ok_or_else(|| damaged(&place, "no data"))?;
        let parallel = parallel.map(|file| file.skip(start));
        let len = match &parallel {
            Some(parallel)
                if parallel.crc32(entry.size()).map_err(|error| unreadable(&place, error.into()))? != entry.crc32() =>
            {
                return Err(damaged(&place, WRONG_CHECKSUM));
            }
            Some(_) => entry.size(),
            None => io::copy(&mut entry, &mut io::sink()).map_err(|error| unreadable(&place, error.into()))?,
        };
        drop(entry);
        let section = Section { inner: self.entries.into_inner(), start, len, position: 0 };
        H5File::from_reader(section).map(|file| file.with_parallel_reader(parallel)).map_err(hdf5)
    }

    fn entry(&mut self, name: &str) -> Result<ZipFile<'_, R>> {
        let place = place(name);
        self.entries.by_name(name).map_err(|error| unreadable(&place, error))
    }

    fn missing(&self, name: &str) -> Error {
        let names: Vec<_> = self.entries.file_names().flatten().take(10).collect();
        let inside = |file: &str| names.iter().any(|name| name.rsplit('/').next() == Some(file));
        let hint = if inside("saved_model.pb") {
            "this is a zipped SavedModel of TensorFlow: unzip it, and give the folder to learn how to convert it"
        } else if names.iter().any(|name| name.ends_with(".keras")) || inside(name) {
            "a model seems to be inside: unzip the archive, and give the model in it"
        } else {
            "a .keras file contains config.json, metadata.json and model.weights.h5"
        };
        Error::new(PLACE, format_args!("an entry `{name}`"), format_args!("entries {names:?}")).hint(hint)
    }
}

/// Whether a name is an absolute path or has a component `..`, by the rules of Unix or Windows.
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
    damaged(place, reason(&error)).with_kind(kind(&error)).caused_by(error)
}

/// The reason for an entry whose bytes were changed or cut.
const WRONG_CHECKSUM: &str = "its bytes don't have their checksum; copy the file again, or save the model again";

/// What is wrong with an archive or an entry, in words.
fn reason(error: &ZipError) -> String {
    match error {
        ZipError::Io(error) if error.to_string() == "Invalid checksum" => WRONG_CHECKSUM.to_owned(),
        ZipError::Io(error) => io_reason(error),
        other => other.to_string(),
    }
}

fn kind(error: &ZipError) -> ErrorKind {
    match error {
        ZipError::Io(error) => io_kind_of_reading(error),
        ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_) => ErrorKind::Unsupported,
        _ => ErrorKind::InvalidData,
    }
}

/// A byte range of a reader, as a reader of its own that starts at 0.
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
