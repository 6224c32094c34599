//! The places where a weight file may be, in the order they are asked.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::download::download;
use crate::hash::md5_of;
use crate::limits::Limits;
use crate::{HubError, Wanted, WeightFile};

/// Where weight files are found, and where they are kept.
///
/// ```
/// use engraft_hub::{Hub, WeightFile};
/// # let folder = tempfile::tempdir()?;
/// # let (cache, keras) = (folder.path().join("cache"), folder.path().join("keras"));
/// let md5 = "f96b697d7cb7938d525a2f31aaf161d0";
/// let file = WeightFile { name: "weights.h5", url: "https://example.org", md5, bytes: None };
/// std::fs::create_dir(&keras)?;
/// std::fs::write(keras.join("weights.h5"), "message digest")?;
/// // The MD5 matches: nothing is downloaded, and `refuse` is not called.
/// let refuse = |_path: &std::path::Path| Err("another file".to_owned());
/// let path = Hub::new(&cache, &keras).fetch(&file, &refuse, &mut |_done, _total| {})?;
/// assert_eq!(path, keras.join("weights.h5"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Hub {
    /// Folder that downloads go to.
    pub cache: PathBuf,
    /// Folder of Keras' own downloads; only read.
    pub keras: PathBuf,
    /// Address of a directory to download from, instead of the one that a file names.
    pub mirror: Option<String>,
    pub(crate) limits: Limits,
}

impl Hub {
    /// Files are kept in `cache`, looked for in `keras` too, and downloaded from where each is published.
    pub fn new(cache: impl Into<PathBuf>, keras: impl Into<PathBuf>) -> Self {
        Self { cache: cache.into(), keras: keras.into(), mirror: None, limits: Limits::default() }
    }

    /// The path of `file`: in the cache, else in Keras' folder, else downloaded into the cache.
    ///
    /// A file is good if its MD5 is the pinned one, or else if `accept` finds its content to be the same (equal tensors in
    /// another layout, say); otherwise `accept` tells why not. The path it is given may end in `.part`. `progress` is
    /// called during a download with the bytes that have arrived and, where known, how many there are.
    ///
    /// A download that breaks off is resumed, in this call and by the next. Processes that want one file wait for each
    /// other.
    ///
    /// # Errors
    /// One variant of [`HubError`] per cause.
    pub fn fetch(
        &self,
        file: &WeightFile,
        accept: &dyn Fn(&Path) -> Result<(), String>,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<PathBuf, HubError> {
        if let Ok(path) = self.find(file, accept) {
            return Ok(path);
        }
        fs::create_dir_all(&self.cache).map_err(disk(&self.cache, "created"))?;
        let _lock = lock(&self.cache.join(format!("{}.lock", file.name)))?;
        // Looked for again: another process may have brought it while this one waited.
        let rejected = match self.find(file, accept) {
            Ok(path) => return Ok(path),
            Err(rejected) => rejected,
        };
        let wanted = self.wanted(file, rejected);
        let part = self.cache.join(format!("{}.part", file.name));
        download(&wanted, &part, file.bytes, &self.limits, progress)?;
        self.keep(file, &part, accept, wanted)
    }

    /// A good copy of `file` on this machine; else the copies that were turned down, and why.
    fn find(
        &self,
        file: &WeightFile,
        accept: &dyn Fn(&Path) -> Result<(), String>,
    ) -> Result<PathBuf, Vec<(PathBuf, String)>> {
        let mut rejected = Vec::new();
        for folder in [&self.cache, &self.keras] {
            let path = folder.join(file.name);
            if !path.is_file() {
                continue;
            }
            let reason = match check(file, &path, accept) {
                Ok(Verdict::Good) => return Ok(path),
                Ok(Verdict::Other { md5, reason }) => format!("its MD5 is {md5} ({reason})"),
                Err(error) => format!("it can't be read: {error}"),
            };
            rejected.push((path, reason));
        }
        Err(rejected)
    }

    /// Makes `part` the cache's copy of `file` if it is good, and deletes it if not.
    fn keep(
        &self,
        file: &WeightFile,
        part: &Path,
        accept: &dyn Fn(&Path) -> Result<(), String>,
        wanted: Wanted,
    ) -> Result<PathBuf, HubError> {
        match check(file, part, accept).map_err(disk(part, "read"))? {
            Verdict::Good => {
                let path = self.cache.join(file.name);
                fs::rename(part, &path).map_err(disk(&path, "written"))?;
                Ok(path)
            }
            Verdict::Other { md5, reason } => {
                fs::remove_file(part).map_err(disk(part, "deleted"))?;
                Err(HubError::WrongHash { wanted: Box::new(wanted), received: md5, reason })
            }
        }
    }

    fn wanted(&self, file: &WeightFile, rejected: Vec<(PathBuf, String)>) -> Wanted {
        let directory = self.mirror.as_deref().unwrap_or(file.url).trim_end_matches('/');
        Wanted {
            url: format!("{directory}/{}", file.name),
            name: file.name,
            md5: file.md5,
            folders: [self.cache.clone(), self.keras.clone()],
            rejected,
        }
    }
}

/// What a file turned out to be.
enum Verdict {
    Good,
    Other { md5: String, reason: String },
}

/// Whether the content of `path` is that of `file`: by its hash, or else by the judgement of `accept`.
fn check(file: &WeightFile, path: &Path, accept: &dyn Fn(&Path) -> Result<(), String>) -> io::Result<Verdict> {
    let md5 = md5_of(path)?;
    if md5 == file.md5 {
        return Ok(Verdict::Good);
    }
    Ok(match accept(path) {
        Ok(()) => Verdict::Good,
        Err(reason) => Verdict::Other { md5, reason },
    })
}

/// Waits until no other process holds `path`; the system lets go of it when the handle is dropped, however a process ends.
fn lock(path: &Path) -> Result<File, HubError> {
    let file = File::create(path).map_err(disk(path, "written"))?;
    match file.lock() {
        // Some network file systems know no locks. At worst, two processes then download the file twice.
        Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(disk(path, "locked")(error)),
        _ => Ok(file),
    }
}

/// Turns what the system says about `path` into an error.
pub(crate) fn disk(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> HubError {
    move |source| HubError::Disk { path: path.to_owned(), action, source }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;
    use crate::HubErrorKind;
    use crate::test_server::{Reply, Server};

    const CONTENT: &[u8] = b"message digest";
    const FILE: WeightFile = WeightFile {
        name: "weights.h5",
        url: "http://127.0.0.1:9/nobody",
        md5: "f96b697d7cb7938d525a2f31aaf161d0",
        bytes: Some(14),
    };

    fn refuse(_: &Path) -> Result<(), String> {
        Err("other tensors".to_owned())
    }

    fn hub(folder: &Path) -> Hub {
        Hub::new(folder.join("cache"), folder.join("keras"))
    }

    fn put(folder: &Path, content: &[u8]) -> PathBuf {
        fs::create_dir_all(folder).unwrap();
        let path = folder.join(FILE.name);
        fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn the_cache_is_asked_first_and_then_the_folder_of_keras() {
        let folder = tempfile::tempdir().unwrap();
        let hub = hub(folder.path());
        let in_keras = put(&hub.keras, CONTENT);
        let fetch = || hub.fetch(&FILE, &refuse, &mut |_, _| panic!("nothing is to be downloaded")).unwrap();
        assert_eq!(fetch(), in_keras);
        let in_cache = put(&hub.cache, CONTENT);
        assert_eq!(fetch(), in_cache);
    }

    #[test]
    fn other_bytes_are_good_if_their_content_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let hub = hub(folder.path());
        put(&hub.cache, b"damaged");
        let path = put(&hub.keras, b"same tensors, other layout");
        let accept = |path: &Path| match fs::read(path) {
            Ok(content) if content.starts_with(b"same tensors") => Ok(()),
            _ => Err("other tensors".to_owned()),
        };
        assert_eq!(hub.fetch(&FILE, &accept, &mut |_, _| {}).unwrap(), path);
    }

    #[test]
    fn a_bad_copy_in_the_cache_is_replaced_and_one_of_keras_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(|_, start| Reply::from(CONTENT, start));
        let hub = Hub { mirror: Some(format!("{}/mirror/", server.url)), ..hub(folder.path()) };
        let in_cache = put(&hub.cache, b"damaged");
        let in_keras = put(&hub.keras, b"damaged, too");
        assert_eq!(hub.fetch(&FILE, &refuse, &mut |_, _| {}).unwrap(), in_cache);
        assert_eq!(fs::read(in_cache).unwrap(), CONTENT);
        assert_eq!(fs::read(in_keras).unwrap(), b"damaged, too");
        assert_eq!(server.paths(), ["/mirror/weights.h5"]);
    }

    #[test]
    fn out_of_reach_the_error_says_what_to_put_where_and_what_was_turned_down() {
        let folder = tempfile::tempdir().unwrap();
        let hub = hub(folder.path());
        let bad = put(&hub.keras, b"");
        let error = hub.fetch(&FILE, &refuse, &mut |_, _| {}).unwrap_err();
        assert!(matches!(error, HubError::Offline { .. }), "{error}");
        assert_eq!(error.kind(), HubErrorKind::Network);
        assert!(error.source().is_some_and(|source| source.is::<ureq::Error>()));
        let message = error.to_string();
        let turned_down =
            format!("{} is not used: its MD5 is d41d8cd98f00b204e9800998ecf8427e (other tensors)", bad.display());
        let into = format!("into {} or {}", hub.cache.display(), hub.keras.display());
        for expected in [FILE.url, FILE.md5, "put weights.h5 ", "ENGRAFT_WEIGHTS_URL", &turned_down, &into] {
            assert!(message.contains(expected), "{expected:?} is missing from {message}");
        }
    }

    #[test]
    fn of_a_wrong_file_nothing_is_kept_unless_its_content_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(|_, start| Reply::from(b"another file", start));
        let hub = Hub { mirror: Some(server.url), ..hub(folder.path()) };
        let error = hub.fetch(&FILE, &refuse, &mut |_, _| {}).unwrap_err();
        assert!(matches!(error, HubError::WrongHash { .. }));
        assert_eq!(error.kind(), HubErrorKind::InvalidData);
        let message = error.to_string();
        assert!(
            message
                .contains("expected MD5 f96b697d7cb7938d525a2f31aaf161d0, received 50e55790ffe629eab86d207fc98bf710"),
            "{message}"
        );
        assert!(!hub.cache.join("weights.h5").exists() && !hub.cache.join("weights.h5.part").exists());

        let path = hub.fetch(&FILE, &|_| Ok(()), &mut |_, _| {}).unwrap();
        assert_eq!(fs::read(path).unwrap(), b"another file");
    }

    #[test]
    fn two_that_want_one_file_download_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(|_, start| Reply::from(CONTENT, start));
        let hub = Hub { mirror: Some(server.url.clone()), ..hub(folder.path()) };
        let fetch = || hub.fetch(&FILE, &refuse, &mut |_, _| {}).unwrap();
        std::thread::scope(|scope| {
            let other = scope.spawn(fetch);
            assert_eq!(fetch(), other.join().unwrap());
        });
        assert_eq!(server.starts(), [None]);
    }

    #[test]
    fn a_cache_that_is_no_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let hub = hub(folder.path());
        fs::write(&hub.cache, "a file").unwrap();
        let error = hub.fetch(&FILE, &refuse, &mut |_, _| {}).unwrap_err();
        assert!(matches!(&error, HubError::Disk { path, action: "created", .. } if *path == hub.cache), "{error}");
        assert_eq!(error.kind(), HubErrorKind::Io);
        assert!(error.source().is_some_and(|source| source.is::<io::Error>()));
        assert!(error.to_string().contains("set ENGRAFT_CACHE"));
    }
}
