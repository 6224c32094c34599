//! The content of a `.keras` file in a folder: saved with `model.save(path, zipped=False)`, or unzipped.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use engraft_nn::{Error, Result};

use super::{CONFIG, MAX_CONFIG, MAX_EXTRA, METADATA, WEIGHTS, in_file};
use crate::h5::H5File;

/// Whether a path is a folder with the content of a `.keras` file: `config.json` and `model.weights.h5`.
///
/// ```
/// use engraft_formats::keras;
/// let folder = tempfile::tempdir()?;
/// assert!(!keras::is_unzipped(folder.path()));
/// for name in ["config.json", "model.weights.h5"] {
///     std::fs::write(folder.path().join(name), "")?;
/// }
/// assert!(keras::is_unzipped(folder.path()));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn is_unzipped(path: &Path) -> bool {
    [CONFIG, WEIGHTS].iter().all(|name| path.join(name).is_file())
}

/// The bytes of `config.json`.
pub(crate) fn config(folder: &Path) -> Result<Vec<u8>> {
    let missing = || Error::new(CONFIG, "a file", "none");
    read(folder, CONFIG, MAX_CONFIG)?.ok_or_else(missing)
}

/// The bytes of `metadata.json`; `None` if there is none.
pub(crate) fn metadata(folder: &Path) -> Result<Option<Vec<u8>>> {
    extra(folder, METADATA)
}

/// The bytes of a further file; `None` if there is none.
pub(super) fn extra(folder: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    read(folder, name, MAX_EXTRA)
}

/// The weights.
pub(crate) fn weights(folder: &Path) -> Result<H5File> {
    H5File::open(&folder.join(WEIGHTS)).map_err(in_file)
}

/// Reads a file of at most `limit` bytes; `None` if there is no file of this name.
fn read(folder: &Path, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let path = folder.join(name);
    // Opening a pipe would wait for a writer.
    if !path.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    read.map_err(|error| Error::from_io(name, error))?;
    if bytes.len() as u64 > limit {
        return Err(Error::new(name, format_args!("at most {limit} bytes"), "more"));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;

    use super::*;
    use crate::keras::{self, SaveOptions};

    /// Writes the entries of an archive as files of a folder.
    fn unzip(archive: &Path, folder: &Path) {
        let mut zip = zip::ZipArchive::new(File::open(archive).unwrap()).unwrap();
        for index in 0..zip.len() {
            let mut entry = zip.by_index(index).unwrap();
            let path = folder.join(entry.name().unwrap().as_ref());
            std::io::copy(&mut entry, &mut File::create(path).unwrap()).unwrap();
        }
    }

    #[test]
    fn a_folder_holds_what_the_archive_holds() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("m.keras");
        let model = || Sequential::new().add(Input::new([4])).add(Dense::new(2)).build().unwrap();
        let saved = model();
        saved.compile(Adam::new(1e-3), Loss::categorical_crossentropy(), []).unwrap();
        let extras = [("engraft.json".to_owned(), b"[]".to_vec())];
        let options = SaveOptions { extras: &extras, optimizer_state: true, ..SaveOptions::default() };
        keras::save(&saved, &archive, &options).unwrap();
        unzip(&archive, folder.path());

        let loaded = keras::load(folder.path()).unwrap();
        assert_eq!(*loaded.model.weights()[0].values(), *saved.weights()[0].values());
        assert!(loaded.warnings.is_empty() && loaded.model.compiled().is_some() && loaded.keras_version.is_some());
        assert_eq!(keras::read_extra(folder.path(), "engraft.json").unwrap().as_deref(), Some(&b"[]"[..]));
        assert_eq!(keras::read_extra(folder.path(), "absent.json").unwrap(), None);
        let other = model();
        keras::load_weights(folder.path(), &other).unwrap();
        assert_eq!(*other.weights()[0].values(), *saved.weights()[0].values());

        std::fs::write(folder.path().join(CONFIG), "{").unwrap();
        let error = keras::load(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}, config.json: ", folder.path().display())), "{error}");
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::write(path.join("a.json"), "1234").unwrap();
        std::fs::create_dir(path.join("b.json")).unwrap();
        assert_eq!(read(path, "a.json", 4).unwrap().as_deref(), Some(&b"1234"[..]));
        assert_eq!(read(path, "a.json", 3).unwrap_err().to_string(), "a.json: expected at most 3 bytes, received more");
        assert_eq!([read(path, "b.json", 4).unwrap(), read(path, "c.json", 4).unwrap()], [None, None]);
    }
}
