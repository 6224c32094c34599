//! The content of a photo's file, or why it can't be had.

use std::error::Error as StdError;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use engraft_nn::{Error, ErrorKind};

/// The largest file that is read as a photo, 1 GiB: [`MAX_PIXELS`](crate::MAX_PIXELS) uncompressed, with room for metadata.
///
/// ```
/// use engraft_data::{MAX_FILE_BYTES, decode};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("video.jpg");
/// std::fs::File::create(&path)?.set_len(MAX_FILE_BYTES + 1)?;
/// // The file is refused by its size, before its content is read.
/// assert!(decode(&path).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Why a photo is of no use, without its name.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) text: String,
    kind: ErrorKind,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Problem {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { text: text.into(), kind, source: None }
    }

    pub(crate) fn damaged(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidData, text)
    }

    pub(crate) fn unsupported(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, text)
    }

    pub(crate) fn caused_by(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// The error that names the photo.
    pub(crate) fn at(self, place: impl Display) -> Error {
        let error = Error::because(place, self.text).with_kind(self.kind);
        match self.source {
            Some(source) => error.caused_by(source),
            None => error,
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::new(error.kind().into(), unreadable(&error)).caused_by(error)
    }
}

/// The content of the photo's file at `path`.
pub(crate) fn read(path: &Path) -> std::result::Result<Vec<u8>, Problem> {
    // Asked before opening: a pipe would block there for ever.
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        let received = if metadata.is_dir() { "a folder" } else { "no regular file" };
        return Err(Problem::new(ErrorKind::InvalidArgument, format!("expected a photo, received {received}")));
    }
    let too_large = || Problem::damaged(format!("expected at most {MAX_FILE_BYTES} bytes, received more"));
    if metadata.len() > MAX_FILE_BYTES {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES { Err(too_large()) } else { Ok(bytes) }
}

/// What stopped a file or folder from being read, and what to do about it where that is plain.
pub(crate) fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "no permission to read it; give yourself read access".to_owned(),
        io::ErrorKind::NotFound => "not found".to_owned(),
        _ => format!("can't be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_is_read_and_anything_else_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("photo");
        assert_eq!(read(&path).unwrap_err().text, "not found");
        fs::write(&path, "content").unwrap();
        assert_eq!(read(&path).unwrap(), b"content");
        assert_eq!(read(folder.path()).unwrap_err().text, "expected a photo, received a folder");
    }

    #[test]
    fn a_huge_file_is_refused_unread() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("photo");
        // A hole, which takes no room on the disk.
        File::create(&path).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
        assert!(read(&path).unwrap_err().text.contains("at most 1073741824 bytes"));
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_no_photo() {
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err().text, "expected a photo, received no regular file");
    }

    #[test]
    fn without_permission_the_reason_says_what_to_do() {
        assert!(unreadable(&io::ErrorKind::PermissionDenied.into()).contains("give yourself read access"));
    }
}
