//! Atomic replacement of files: a reader sees the old file or the new one, never a mixture.
//!
//! Every function of this crate that saves to a path does so through [`write()`]. [`AtomicFile`] is for content that comes over time.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use engraft_nn::{ErrorKind, io_reason};
use tempfile::NamedTempFile;

use crate::error::HasErrorKind;
use crate::h5::H5Error;

/// A failed write. The old file, if there was one, is unchanged.
///
/// ```
/// use engraft_formats::atomic;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("absent/model.keras");
/// let error = atomic::write(&path, |_| Ok(())).unwrap_err();
/// assert_eq!(error.path, path);
/// assert_eq!(error.source.kind(), std::io::ErrorKind::NotFound);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {}", path.display(), io_reason(source))]
pub struct AtomicError {
    /// The file that could not be written.
    pub path: PathBuf,
    /// The error of the system, or of the function that writes the content.
    #[source]
    pub source: io::Error,
}

impl AtomicError {
    /// The category of the error, for programs that react to it.
    ///
    /// ```
    /// use engraft_formats::atomic;
    /// let error = atomic::write("no/such/folder/file".as_ref(), |_| Ok(())).unwrap_err();
    /// assert_eq!(error.kind(), engraft_nn::ErrorKind::NotFound);
    /// ```
    pub fn kind(&self) -> ErrorKind {
        let of_hdf5 = self.source.get_ref().and_then(|error| error.downcast_ref::<H5Error>());
        of_hdf5.map_or_else(|| self.source.kind().into(), H5Error::kind)
    }
}

impl HasErrorKind for AtomicError {
    fn error_kind(&self) -> ErrorKind {
        self.kind()
    }
}

/// Replaces a file atomically: writes a temporary file in the same folder, syncs it, and renames it.
///
/// Readers see the old file or the new one, even if this process or the machine stops in between.
/// Permissions of an existing file stay. Where `path` is a symbolic link, its [`target`] is replaced or created, and the link
/// stays.
/// On failure the temporary file is removed.
///
/// ```
/// use engraft_formats::atomic;
/// use std::io::Write;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.keras");
/// atomic::write(&path, |file| file.write_all(b"weights"))?;
/// assert_eq!(std::fs::read(&path)?, b"weights");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`AtomicError`] with the path, when the folder can't be written, the disk is full, or `write`
/// fails. Wrap an error of another type in [`io::Error::other`]; it becomes the source.
pub fn write(path: &Path, write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>) -> Result<(), AtomicError> {
    let mut file = AtomicFile::create(path)?;
    let mut buffered = BufWriter::new(file.temporary.as_file_mut());
    let written = write(&mut buffered).and_then(|()| buffered.flush());
    drop(buffered);
    match written {
        Ok(()) => file.commit(),
        Err(source) => Err(file.error(source)),
    }
}

/// A new content of a file, written piece by piece. It takes the place of the file when it is committed.
///
/// Like [`write()`], for content that comes over time. Until [`commit`](Self::commit), it is in a hidden temporary file in the same
/// folder, which is removed when the value is dropped. Writes aren't buffered.
///
/// ```
/// use engraft_formats::atomic::AtomicFile;
/// use std::io::Write;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("table");
/// let mut file = AtomicFile::create(&path)?;
/// file.write_all(b"one row")?;
/// assert!(!path.exists());
/// file.commit()?;
/// assert_eq!(std::fs::read(&path)?, b"one row");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    target: PathBuf,
    temporary: NamedTempFile,
}

impl AtomicFile {
    /// Creates the temporary file, beside the [`target`] of `path`.
    ///
    /// # Errors
    /// [`AtomicError`] with the path, when the folder can't be written.
    pub fn create(path: &Path) -> Result<Self, AtomicError> {
        let created = || {
            let target = target(path);
            if target.is_symlink() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "its links lead in a circle"));
            }
            let no_name = || io::Error::new(io::ErrorKind::InvalidInput, "not a file name");
            let temporary = create_beside(folder_of(&target), target.file_name().ok_or_else(no_name)?)?;
            Ok(Self { path: path.to_owned(), target, temporary })
        };
        created().map_err(|source| AtomicError { path: path.to_owned(), source })
    }

    /// Syncs the content and renames the temporary file, so that it takes the place of the file. Permissions of an existing file
    /// stay.
    ///
    /// # Errors
    /// [`AtomicError`] with the path, when the disk is full or the file can't be replaced. The old file is unchanged.
    pub fn commit(self) -> Result<(), AtomicError> {
        let Self { path, target, temporary } = self;
        let commit = || {
            if let Ok(metadata) = fs::metadata(&target) {
                temporary.as_file().set_permissions(metadata.permissions())?;
            }
            temporary.as_file().sync_all()?;
            temporary.persist(&target).map_err(|error| error.error)?;
            sync_folder(folder_of(&target));
            Ok(())
        };
        commit().map_err(|source| AtomicError { path, source })
    }

    fn error(&self, source: io::Error) -> AtomicError {
        AtomicError { path: self.path.clone(), source }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temporary.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.flush()
    }
}

/// The file that [`write()`] replaces or creates: `path` itself, or what a symbolic link at `path` leads to, even if nothing is there
/// yet.
///
/// ```
/// use engraft_formats::atomic;
/// # #[cfg(unix)] {
/// let folder = tempfile::tempdir()?;
/// let (model, latest) = (folder.path().join("model-7.keras"), folder.path().join("latest.keras"));
/// std::os::unix::fs::symlink("model-7.keras", &latest)?;
/// assert_eq!(atomic::target(&latest), model);
/// assert_eq!(atomic::target(&model), model);
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn target(path: &Path) -> PathBuf {
    /// Links that lead to links; Linux follows 40, too.
    const MAX_LINKS: usize = 40;
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(next) = fs::read_link(&target) else { return target };
        // A relative link starts at its own folder.
        target = target.parent().unwrap_or(Path::new("")).join(next);
    }
    target
}

fn folder_of(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates the temporary file, named `.NAME….tmp` so that a leftover of a crash shows where it came from.
fn create_beside(folder: &Path, name: &std::ffi::OsStr) -> io::Result<NamedTempFile> {
    // The start of a long name is enough: file systems limit names to 255 bytes.
    let start: String = name.to_string_lossy().chars().take(40).collect();
    let prefix = format!(".{start}");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    if let Some(permissions) = new_file_permissions() {
        builder.permissions(permissions);
    }
    builder.tempfile_in(folder)
}

/// Permissions requested for new files, before the umask applies. Without them, temporary files would be private to their
/// owner.
#[cfg(unix)]
fn new_file_permissions() -> Option<Permissions> {
    use std::os::unix::fs::PermissionsExt;
    Some(Permissions::from_mode(0o666))
}

#[cfg(not(unix))]
fn new_file_permissions() -> Option<Permissions> {
    None
}

/// Syncs the folder, so that the rename survives a power failure. Errors are ignored: the file is in place already,
/// and some file systems can't sync folders.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_new_file_takes_the_place_of_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        for contents in ["first", "second, and longer"] {
            write(&path, |file| file.write_all(contents.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), contents);
        }
        assert_eq!(names(folder.path()), ["model"]);
    }

    #[test]
    fn a_failing_writer_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        fs::write(&path, "old").unwrap();
        let error = write(&path, |file| {
            file.write_all(&[0; 100_000])?;
            Err(io::ErrorKind::StorageFull.into())
        })
        .unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["model"]);
    }

    #[test]
    fn a_file_that_is_not_committed_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        fs::write(&path, "old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(names(folder.path()).len(), 2);
        assert!(names(folder.path())[0].starts_with(".table"));
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["table"]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_with_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("absent").join("model");
        let error = write(&path, |_| panic!("nothing can be written")).unwrap_err();
        assert_eq!((error.source.kind(), error.kind()), (io::ErrorKind::NotFound, ErrorKind::NotFound));
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_folder_is_not_replaced_by_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        fs::create_dir(&path).unwrap();
        write(&path, |file| file.write_all(b"new")).unwrap_err();
        assert_eq!(names(folder.path()), ["model"]);
        assert!(path.is_dir());
    }

    #[cfg(unix)]
    #[test]
    fn permissions_and_links_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("model"), folder.path().join("latest"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();

        write(&link, |file| file.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_file_that_is_not_there_yet_stays_a_link() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("models")).unwrap();
        let (model, link) = (folder.path().join("models/7"), folder.path().join("latest"));
        symlink("models/7", &link).unwrap();
        write(&link, |file| file.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&model).unwrap(), "new");
        // A circle of links ends in an error.
        symlink("circle", folder.path().join("circle")).unwrap();
        write(&folder.path().join("circle"), |file| file.write_all(b"new")).unwrap_err();
    }

    /// Tests may run as root, who can write to ordinary folders. `/proc` refuses writes even by root.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_that_cannot_be_written_is_an_error_with_the_path() {
        let path = Path::new("/proc/self/model");
        let error = write(path, |_| panic!("nothing can be written")).unwrap_err();
        assert!(error.to_string().contains("/proc/self/model"), "{error}");
    }

    /// `/dev/full` refuses every byte, as a full disk does.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_the_error_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        fs::write(&path, "old").unwrap();
        let error = write(&path, |_| {
            let mut full = File::options().write(true).open("/dev/full")?;
            full.write_all(b"new")
        })
        .unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    }
}
