//! Why a weight file can't be had, and which file to put where instead.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a weight file can't be had; every message about a file says where to put it by hand.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// No place to keep files: neither a home folder nor a variable that names one.
    #[error("no home folder to keep weights in\nhint: set ENGRAFT_CACHE to a folder")]
    NoCache,
    /// The server can't be reached.
    #[error("{url}: can't be reached: {reason}{rescue}")]
    Offline {
        /// Address of the file.
        url: String,
        /// What the connection failed of.
        reason: String,
        /// What to do instead.
        rescue: Rescue,
    },
    /// The server answers, but not with the file.
    #[error("{url}: expected the file, received HTTP status {status}{rescue}")]
    Status {
        /// Address of the file.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What to do instead.
        rescue: Rescue,
    },
    /// The connection kept breaking before the end. What arrived is kept, and the next attempt goes on from there.
    #[error(
        "{url}: the connection broke after {received} of {expected} bytes: {reason}\nhint: try again, it goes on from there{rescue}"
    )]
    Truncated {
        /// Address of the file.
        url: String,
        /// Bytes that have arrived.
        received: u64,
        /// Bytes that the server announced, or `unknown`.
        expected: String,
        /// How the connection broke.
        reason: String,
        /// What to do instead.
        rescue: Rescue,
    },
    /// The server sends more than any weight file holds.
    #[error("{url}: expected at most {limit} bytes, received {received}{rescue}")]
    TooLarge {
        /// Address of the file.
        url: String,
        /// The bound.
        limit: u64,
        /// Bytes announced or received.
        received: u64,
        /// What to do instead.
        rescue: Rescue,
    },
    /// The whole file arrived, and is another. It was deleted.
    #[error("{url}: expected MD5 {expected}, received {received} ({reason}); the download was deleted{rescue}")]
    WrongHash {
        /// Address of the file.
        url: String,
        /// The MD5 that is pinned.
        expected: String,
        /// The MD5 of what arrived.
        received: String,
        /// Why its content wasn't accepted either.
        reason: String,
        /// What to do instead.
        rescue: Rescue,
    },
    /// The cache can't be read or written: no permission, a full disk.
    #[error("{}: can't be {action}: {source}\nhint: make room or give write access there, or set ENGRAFT_CACHE to another folder", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a participle.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

/// What to do where a download fails: which file to put where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rescue {
    /// File name.
    pub name: &'static str,
    /// The MD5 that is pinned for it.
    pub md5: &'static str,
    /// Folders that are searched for it.
    pub folders: [PathBuf; 2],
    /// Files of that name that were found there and turned down, with the reason.
    pub rejected: Vec<(PathBuf, String)>,
}

impl fmt::Display for Rescue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, reason) in &self.rejected {
            write!(f, "\nnote: {} is not used: {reason}", path.display())?;
        }
        let [cache, keras] = &self.folders;
        write!(f, "\nhint: put {} (MD5 {}) into {} or {}", self.name, self.md5, cache.display(), keras.display())?;
        write!(f, ", or set ENGRAFT_WEIGHTS_URL to the address of a folder that holds it")
    }
}
