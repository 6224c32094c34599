//! Reads a photo's file into memory, with a limit on its size, and the error type of unreadable photos.

use std::error::Error as StdError;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use engraft_nn::{Error, ErrorKind, io_reason};

/// The largest file that is read as a photo: 1 GiB, enough for [`MAX_PIXELS`](crate::MAX_PIXELS) uncompressed pixels of 32 bits
/// and metadata.
///
/// ```
/// use engraft_data::{MAX_FILE_BYTES, decode};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("video.jpg");
/// std::fs::File::create(&path)?.set_len(MAX_FILE_BYTES + 1)?;
/// // The file is refused by its size, before its content is read.
/// assert!(decode(&path).unwrap_err().to_string().contains("at most 1073741824 bytes"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Why a photo can't be read or decoded. It doesn't name the file: [`at`](Self::at) adds the name.
#[derive(Debug)]
pub(crate) struct PhotoError {
    pub(crate) message: String,
    kind: ErrorKind,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl PhotoError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { message: message.into(), kind, source: None }
    }

    pub(crate) fn damaged(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidData, message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    pub(crate) fn caused_by(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// This error with `place`, the name of the photo.
    pub(crate) fn at(self, place: impl Display) -> Error {
        let error = Error::because(place, self.message).with_kind(self.kind);
        match self.source {
            Some(source) => error.caused_by(source),
            None => error,
        }
    }
}

impl From<io::Error> for PhotoError {
    fn from(error: io::Error) -> Self {
        Self::new(error.kind().into(), unreadable(&error)).caused_by(error)
    }
}

/// Reads the file at `path`.
///
/// # Errors
/// Where it is no regular file, exceeds [`MAX_FILE_BYTES`], or can't be read.
pub(crate) fn read(path: &Path) -> std::result::Result<Vec<u8>, PhotoError> {
    // Checked before the file is opened: opening a named pipe blocks until a writer appears.
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        let received = if metadata.is_dir() { "a folder" } else { "no regular file" };
        return Err(PhotoError::new(ErrorKind::InvalidArgument, format!("expected a photo, received {received}")));
    }
    let too_large = || PhotoError::damaged(format!("expected at most {MAX_FILE_BYTES} bytes, received more"));
    if metadata.len() > MAX_FILE_BYTES {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES { Err(too_large()) } else { Ok(bytes) }
}

/// The reason for an I/O error in words, with advice where the fix is obvious.
pub(crate) fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "no permission to read it; give yourself read access".to_owned(),
        io::ErrorKind::NotFound => "not found".to_owned(),
        _ => format!("can't be read: {}", io_reason(error)),
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
        assert_eq!(read(&path).unwrap_err().message, "not found");
        fs::write(&path, "content").unwrap();
        assert_eq!(read(&path).unwrap(), b"content");
        assert_eq!(read(folder.path()).unwrap_err().message, "expected a photo, received a folder");
    }

    #[test]
    fn a_huge_file_is_refused_unread() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("photo");
        // A sparse file takes no space on the disk.
        File::create(&path).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
        assert!(read(&path).unwrap_err().message.contains("at most 1073741824 bytes"));
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_no_photo() {
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err().message, "expected a photo, received no regular file");
    }

    #[test]
    fn without_permission_the_reason_says_what_to_do() {
        assert!(unreadable(&io::ErrorKind::PermissionDenied.into()).contains("give yourself read access"));
    }
}
