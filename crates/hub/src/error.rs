//! Why a weight file can't be had, and which file to put where instead.

use std::path::PathBuf;
use std::{fmt, io};

/// The cause of another error, of whatever type.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong, as far as a program can act on it.
///
/// ```
/// use engraft_hub::{HubError, HubErrorKind};
/// let worth_another_try = |error: &HubError| error.kind() == HubErrorKind::Network;
/// assert!(!worth_another_try(&HubError::NoCache));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HubErrorKind {
    /// There is no place to look for files: neither a home folder nor a variable that names one.
    NotFound,
    /// The server can't be reached, refuses, or breaks off: no connection, HTTP status 503.
    Network,
    /// Another file arrived than the one that was wanted.
    InvalidData,
    /// The cache can't be read or written: no permission, a full disk.
    Io,
}

/// Why a weight file can't be had. Every message about a download says which file to put where by hand.
///
/// ```
/// use engraft_hub::{Hub, HubError, VGG16};
/// let folder = tempfile::tempdir()?;
/// let cache = folder.path().join("cache");
/// std::fs::write(&cache, "a file where a folder should be")?;
/// let hub = Hub::new(&cache, folder.path());
/// let error = hub.fetch(&VGG16, &|_path| Err("another file".to_owned()), &mut |_done, _total| {}).unwrap_err();
/// assert!(matches!(&error, HubError::Disk { path, .. } if *path == cache));
/// assert!(error.to_string().contains("set ENGRAFT_CACHE"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// No place to keep files: neither a home folder nor a variable that names one.
    #[error("there is no home folder to keep weights in\nhint: set ENGRAFT_CACHE to a folder")]
    NoCache,
    /// The server can't be reached.
    #[error("{}: can't be reached: {reason}{wanted}", wanted.url)]
    Offline {
        /// The file that was wanted.
        wanted: Box<Wanted>,
        /// Why there was no connection.
        reason: String,
        /// The error of the HTTP client.
        source: Cause,
    },
    /// The server answers, but not with the file.
    #[error("{}: expected the file, received HTTP status {status}{wanted}", wanted.url)]
    Status {
        /// The file that was wanted.
        wanted: Box<Wanted>,
        /// The HTTP status.
        status: u16,
    },
    /// The connection kept breaking before the end. What arrived is kept, and the next attempt goes on from there.
    #[error("{}: cut short after {received} bytes: {reason}\nhint: try again, it goes on from there{wanted}", wanted.url)]
    Truncated {
        /// The file that was wanted.
        wanted: Box<Wanted>,
        /// Bytes that have arrived.
        received: u64,
        /// How the connection broke.
        reason: String,
        /// The error that broke it; none where the server closed it in good order.
        source: Option<io::Error>,
    },
    /// The server sends more than any weight file holds. What arrived was deleted.
    #[error("{}: expected at most {limit} bytes, received {received}{wanted}", wanted.url)]
    TooLarge {
        /// The file that was wanted.
        wanted: Box<Wanted>,
        /// The bound, in bytes.
        limit: u64,
        /// Bytes announced or received.
        received: u64,
    },
    /// All of a file arrived, but of another file. It was deleted.
    #[error("{}: expected MD5 {}, received {received} ({reason}); the download was deleted{wanted}", wanted.url, wanted.md5)]
    WrongHash {
        /// The file that was wanted.
        wanted: Box<Wanted>,
        /// The MD5 of what arrived.
        received: String,
        /// Why its content wasn't accepted either.
        reason: String,
    },
    /// The cache can't be read or written: no permission, a full disk.
    #[error("{}: can't be {action}: {source}\nhint: make room or give yourself access there, or set ENGRAFT_CACHE to another folder", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a participle.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

impl HubError {
    /// What went wrong, for a program to act on.
    ///
    /// ```
    /// use engraft_hub::{HubError, HubErrorKind};
    /// assert_eq!(HubError::NoCache.kind(), HubErrorKind::NotFound);
    /// ```
    pub fn kind(&self) -> HubErrorKind {
        match self {
            Self::NoCache => HubErrorKind::NotFound,
            Self::Offline { .. } | Self::Status { .. } | Self::Truncated { .. } => HubErrorKind::Network,
            Self::TooLarge { .. } | Self::WrongHash { .. } => HubErrorKind::InvalidData,
            Self::Disk { .. } => HubErrorKind::Io,
        }
    }
}

/// A file that was to be downloaded, shown as what to do where that fails.
///
/// ```
/// use engraft_hub::Wanted;
/// let wanted = Wanted {
///     url: "https://example.org/weights.h5".to_owned(),
///     name: "weights.h5",
///     md5: "f96b697d7cb7938d525a2f31aaf161d0",
///     folders: ["cache".into(), "keras".into()],
///     rejected: Vec::new(),
/// };
/// let hint = wanted.to_string();
/// assert!(hint.contains("put weights.h5 (MD5 f96b697d7cb7938d525a2f31aaf161d0) into cache or keras"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Address it was asked from.
    pub url: String,
    /// File name.
    pub name: &'static str,
    /// The MD5 that is pinned for it.
    pub md5: &'static str,
    /// Folders that are searched for it.
    pub folders: [PathBuf; 2],
    /// Files of that name that were found there and turned down, with the reason.
    pub rejected: Vec<(PathBuf, String)>,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, reason) in &self.rejected {
            write!(f, "\nnote: {} is not used: {reason}", path.display())?;
        }
        let [cache, keras] = self.folders.each_ref().map(|folder| folder.display());
        write!(f, "\nhint: put {} (MD5 {}) into {cache} or {keras}", self.name, self.md5)?;
        write!(f, ", or set ENGRAFT_WEIGHTS_URL to the address of a folder that holds it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_says_what_happened_what_was_found_and_what_to_do() {
        let wanted = Box::new(Wanted {
            url: "https://host/weights.h5".to_owned(),
            name: "weights.h5",
            md5: "00ff",
            folders: ["cache".into(), "keras".into()],
            rejected: vec![("keras/weights.h5".into(), "its MD5 is 11".to_owned())],
        });
        let error = HubError::Status { wanted, status: 404 };
        let expected = "https://host/weights.h5: expected the file, received HTTP status 404\n\
                        note: keras/weights.h5 is not used: its MD5 is 11\n\
                        hint: put weights.h5 (MD5 00ff) into cache or keras, \
                        or set ENGRAFT_WEIGHTS_URL to the address of a folder that holds it";
        assert_eq!(error.to_string(), expected);
    }
}
