//! [`HubError`]: why a weight file can't be found or downloaded, with instructions to install the file by hand.

use std::borrow::Cow;
#[cfg(feature = "download")]
use std::path::Path;
use std::path::PathBuf;
use std::{fmt, io};

use crate::Hash;

/// The error that caused another one, of any type.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The kind of a [`HubError`], for programs that react to it, for example by retrying.
///
/// ```
/// use engraft_hub::{HubError, HubErrorKind};
/// let worth_another_try = |error: &HubError| error.kind() == HubErrorKind::Network;
/// assert!(!worth_another_try(&HubError::NoCache));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HubErrorKind {
    /// The file is missing and can't be downloaded: the crate was built without the feature `download`, or there is no cache
    /// folder.
    NotFound,
    /// The download failed: no connection, an HTTP error status, or an interrupted transfer. Retrying may help.
    Network,
    /// The downloaded file is not the expected one: its hash or content differs, or it is too large.
    InvalidData,
    /// The cache can't be read or written: no permission, a full disk.
    Io,
}

/// Why a weight file can't be found or downloaded.
///
/// The message of a failed download names the file, its hash and the folders to put it into by hand.
///
/// ```
/// use engraft_hub::{Hub, HubError, VGG16};
/// let folder = tempfile::tempdir()?;
/// let mut hub = Hub::new(folder.path().join("cache"), folder.path().join("keras"));
/// // No server listens on this port.
/// hub.mirror = Some("http://127.0.0.1:9".to_owned());
/// let error = hub.fetch(&VGG16, &|_path| Err("another file".to_owned()), &mut |_done, _total| {}).unwrap_err();
/// assert!(matches!(error, HubError::Offline { .. } | HubError::NoDownload { .. }));
/// assert!(error.to_string().contains(&format!("put {} (MD5 64373286793e3c8b2b4e3219cbf3544b)", VGG16.name)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// No cache folder: there is neither a home folder nor an environment variable that names one.
    #[error("there is no home folder for the weights cache\nhint: set ENGRAFT_CACHE to a folder")]
    NoCache,
    /// There is no verified copy of the file, and this crate was built without the feature `download`.
    #[error("{}: expected a verified copy, received none{}, or build this program with the feature `download` of engraft", requested.name, requested.by_hand())]
    NoDownload {
        /// The requested file.
        requested: Box<RequestedFile>,
    },
    /// The server can't be reached: no network, unknown host, connection refused.
    #[error("{}: can't be reached: {reason}{requested}", requested.url)]
    Offline {
        /// The requested file.
        requested: Box<RequestedFile>,
        /// Why there was no connection.
        reason: String,
        /// The error of the HTTP client.
        source: Cause,
    },
    /// The server responded with an HTTP error status.
    #[error("{}: expected the file, received HTTP status {status}{requested}", requested.url)]
    Status {
        /// The requested file.
        requested: Box<RequestedFile>,
        /// The HTTP status.
        status: u16,
    },
    /// The transfer was interrupted at every attempt. The received bytes are kept, and the next call resumes after them.
    #[error("{}: interrupted after {received} bytes: {reason}\nhint: try again; the download resumes there{requested}", requested.url)]
    Truncated {
        /// The requested file.
        requested: Box<RequestedFile>,
        /// Bytes received so far.
        received: u64,
        /// Why the transfer was interrupted.
        reason: String,
        /// The I/O error; `None` if the server closed the connection.
        source: Option<io::Error>,
    },
    /// The server sends more bytes than any weight file has. The received bytes were deleted.
    #[error("{}: expected at most {limit} bytes, received {received}{requested}", requested.url)]
    TooLarge {
        /// The requested file.
        requested: Box<RequestedFile>,
        /// The largest accepted size in bytes.
        limit: u64,
        /// Bytes that the server announced or sent.
        received: u64,
    },
    /// The downloaded file has another hash, and the caller did not accept its content. The file was deleted.
    #[error("{}: expected {expected}, received {received} ({reason}); the download was deleted{requested}", requested.url)]
    WrongHash {
        /// The requested file.
        requested: Box<RequestedFile>,
        /// The published hash.
        expected: Hash,
        /// The digits of the same kind of hash for the downloaded file.
        received: String,
        /// Why the caller did not accept its content.
        reason: String,
    },
    /// The caller did not accept the content of a downloaded file that has no published hash. The file was deleted.
    #[error("{}: expected weights of this network, received another file ({reason}); the download was deleted{requested}", requested.url)]
    WrongContent {
        /// The requested file.
        requested: Box<RequestedFile>,
        /// Why the caller did not accept its content.
        reason: String,
    },
    /// The cache can't be read or written: no permission, a full disk.
    #[error("{}: can't be {action}: {source}\nhint: free disk space or give yourself access there, or set ENGRAFT_CACHE to another folder", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// The failed action as a participle, such as `written`.
        action: &'static str,
        /// The I/O error.
        source: io::Error,
    },
}

impl HubError {
    /// The kind of this error.
    ///
    /// ```
    /// use engraft_hub::{HubError, HubErrorKind};
    /// assert_eq!(HubError::NoCache.kind(), HubErrorKind::NotFound);
    /// ```
    pub fn kind(&self) -> HubErrorKind {
        match self {
            Self::NoCache | Self::NoDownload { .. } => HubErrorKind::NotFound,
            Self::Offline { .. } | Self::Status { .. } | Self::Truncated { .. } => HubErrorKind::Network,
            Self::TooLarge { .. } | Self::WrongHash { .. } | Self::WrongContent { .. } => HubErrorKind::InvalidData,
            Self::Disk { .. } => HubErrorKind::Io,
        }
    }
}

/// A function that wraps an I/O error at `path` into [`HubError::Disk`]; `action` is the failed action as a participle.
#[cfg(feature = "download")]
pub(crate) fn disk_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> HubError {
    move |source| HubError::Disk { path: path.to_owned(), action, source }
}

/// The file of a failed download. Its `Display` tells the user which file to install by hand, and where.
///
/// ```
/// use engraft_hub::{Hash, RequestedFile};
/// let requested = RequestedFile {
///     url: "https://example.org/weights.h5".to_owned(),
///     name: "weights.h5".into(),
///     hash: Hash::of_digits("f96b697d7cb7938d525a2f31aaf161d0"),
///     folders: ["cache".into(), "keras".into()],
///     rejected: Vec::new(),
/// };
/// let hint = requested.to_string();
/// assert!(hint.contains("put weights.h5 (MD5 f96b697d7cb7938d525a2f31aaf161d0) into cache or keras"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedFile {
    /// URL of the file.
    pub url: String,
    /// File name.
    pub name: Cow<'static, str>,
    /// The published hash; `None` if there is none.
    pub hash: Option<Hash>,
    /// The folders that are searched: the cache, and Keras' folder.
    pub folders: [PathBuf; 2],
    /// Files of that name in these folders that were rejected, with the reason.
    pub rejected: Vec<(PathBuf, String)>,
}

impl RequestedFile {
    /// Names the rejected copies and the folders to put the file into.
    fn by_hand(&self) -> String {
        let note = |(path, reason): &(PathBuf, String)| format!("\nnote: {} is not used: {reason}", path.display());
        let notes: String = self.rejected.iter().map(note).collect();
        let [cache, keras] = self.folders.each_ref().map(|folder| folder.display());
        let hash = self.hash.map(|hash| format!(" ({hash})")).unwrap_or_default();
        format!("{notes}\nhint: put {}{hash} into {cache} or {keras}", self.name)
    }
}

impl fmt::Display for RequestedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or set ENGRAFT_WEIGHTS_URL to the address of a folder that holds it", self.by_hand())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requested() -> Box<RequestedFile> {
        Box::new(RequestedFile {
            url: "https://host/weights.h5".to_owned(),
            name: "weights.h5".into(),
            hash: Some(Hash::Md5("00ff")),
            folders: ["cache".into(), "keras".into()],
            rejected: vec![("keras/weights.h5".into(), "its MD5 is 11".to_owned())],
        })
    }

    #[test]
    fn without_downloads_the_message_names_the_feature() {
        let error = HubError::NoDownload { requested: requested() };
        let expected = "weights.h5: expected a verified copy, received none\n\
                        note: keras/weights.h5 is not used: its MD5 is 11\n\
                        hint: put weights.h5 (MD5 00ff) into cache or keras, \
                        or build this program with the feature `download` of engraft";
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.kind(), HubErrorKind::NotFound);
    }

    #[test]
    fn the_message_says_what_happened_what_was_found_and_what_to_do() {
        let error = HubError::Status { requested: requested(), status: 404 };
        let expected = "https://host/weights.h5: expected the file, received HTTP status 404\n\
                        note: keras/weights.h5 is not used: its MD5 is 11\n\
                        hint: put weights.h5 (MD5 00ff) into cache or keras, \
                        or set ENGRAFT_WEIGHTS_URL to the address of a folder that holds it";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_hash_is_named_by_its_kind_and_not_at_all_where_there_is_none() {
        let hint = |hash| RequestedFile { hash, ..*requested() }.to_string();
        assert!(hint(Some(Hash::Sha256("00ff"))).contains("put weights.h5 (SHA-256 00ff) into cache"));
        assert!(hint(None).contains("put weights.h5 into cache or keras"));
    }
}
