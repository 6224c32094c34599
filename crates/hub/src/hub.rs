//! [`Hub`]: finds a weight file in the cache or in Keras' folder, or downloads it into the cache.

#[cfg(feature = "download")]
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Hash, HubError, RequestedFile, WeightFile};
#[cfg(feature = "download")]
use crate::{download::download, error::disk_error, limits::Limits, lock::lock};

/// The cache of weight files, and the places to search and to download from.
///
/// ```
/// use engraft_hub::{Hash, Hub, WeightFile};
/// # let folder = tempfile::tempdir()?;
/// # let (cache, keras) = (folder.path().join("cache"), folder.path().join("keras"));
/// let hash = Hash::of_digits("f96b697d7cb7938d525a2f31aaf161d0");
/// let file = WeightFile { name: "weights.h5".into(), url: "https://example.org/weights.h5".into(), hash, bytes: None };
/// std::fs::create_dir(&keras)?;
/// std::fs::write(keras.join("weights.h5"), "message digest")?;
/// // The hash matches: nothing is downloaded, and `reject` is not called.
/// let reject = |_path: &std::path::Path| Err("another file".to_owned());
/// let path = Hub::new(&cache, &keras).fetch(&file, &reject, &mut |_done, _total| {})?;
/// assert_eq!(path, keras.join("weights.h5"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Hub {
    /// Folder that downloads are stored in.
    pub cache: PathBuf,
    /// Folder of Keras' own downloads. It is read, never written.
    pub keras: PathBuf,
    /// URL of a directory to download from instead of [`WeightFile::url`].
    pub mirror: Option<String>,
}

impl Hub {
    /// Makes a hub that searches `cache` and then `keras`, and downloads into `cache` from [`WeightFile::url`].
    pub fn new(cache: impl Into<PathBuf>, keras: impl Into<PathBuf>) -> Self {
        Self { cache: cache.into(), keras: keras.into(), mirror: None }
    }

    /// Returns the path of a verified copy of `file`: in the cache, else in Keras' folder, else downloaded into the cache.
    ///
    /// A copy is accepted if its hash is [`WeightFile::hash`]. If the hash differs, or none is published, `accept` decides: `Ok`
    /// accepts the content, for example equal tensors in another layout, and `Err` gives the reason to reject it. The path that
    /// `accept` receives may end in `.part`.
    ///
    /// `progress` is called during a download with the bytes received and the total, if known.
    ///
    /// An interrupted download is resumed, by this call and by later ones. A lock file makes concurrent processes wait, so that
    /// each file is downloaded once.
    ///
    /// Without the feature `download`, nothing is downloaded: a file that is in neither folder is [`HubError::NoDownload`].
    ///
    /// # Errors
    /// See the variants of [`HubError`].
    pub fn fetch(
        &self,
        file: &WeightFile,
        accept: &dyn Fn(&Path) -> Result<(), String>,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<PathBuf, HubError> {
        match self.find(file, accept) {
            Ok(path) => Ok(path),
            #[cfg(feature = "download")]
            Err(_) => self.download(file, accept, progress),
            #[cfg(not(feature = "download"))]
            Err(rejected) => {
                let _ = progress;
                Err(HubError::NoDownload { requested: Box::new(self.request(file, rejected)) })
            }
        }
    }

    /// Whether the cache or Keras' folder has a file of this name. Its content isn't verified.
    ///
    /// ```
    /// use engraft_hub::{Hub, VGG16_NOTOP};
    /// # let home = tempfile::tempdir()?;
    /// let hub = Hub::new(home.path().join("cache"), home.path().join("models"));
    /// assert!(!hub.has(&VGG16_NOTOP));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn has(&self, file: &WeightFile) -> bool {
        [&self.cache, &self.keras].iter().any(|folder| folder.join(&*file.name).is_file())
    }

    /// Searches the cache and Keras' folder for a verified copy of `file`.
    ///
    /// # Errors
    /// The copies that were rejected, with the reason; none if there are no copies.
    fn find(
        &self,
        file: &WeightFile,
        accept: &dyn Fn(&Path) -> Result<(), String>,
    ) -> Result<PathBuf, Vec<(PathBuf, String)>> {
        let mut rejected = Vec::new();
        for folder in [&self.cache, &self.keras] {
            let path = folder.join(&*file.name);
            if !path.is_file() {
                continue;
            }
            let reason = match verify(file, &path, accept) {
                Ok(Verification::Match) => return Ok(path),
                Ok(Verification::WrongHash { expected, received, reason }) => {
                    format!("its {} is {received} ({reason})", expected.kind())
                }
                Ok(Verification::WrongContent { reason }) => reason,
                Err(error) => format!("it can't be read: {error}"),
            };
            rejected.push((path, reason));
        }
        Err(rejected)
    }

    fn request(&self, file: &WeightFile, rejected: Vec<(PathBuf, String)>) -> RequestedFile {
        let on_mirror = self.mirror.as_ref().map(|mirror| format!("{}/{}", mirror.trim_end_matches('/'), file.name));
        RequestedFile {
            url: on_mirror.unwrap_or_else(|| file.url.to_string()),
            name: file.name.clone(),
            hash: file.hash,
            folders: [self.cache.clone(), self.keras.clone()],
            rejected,
        }
    }
}

#[cfg(feature = "download")]
impl Hub {
    /// Downloads `file` into the cache, or waits while another process does.
    fn download(
        &self,
        file: &WeightFile,
        accept: &dyn Fn(&Path) -> Result<(), String>,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<PathBuf, HubError> {
        fs::create_dir_all(&self.cache).map_err(disk_error(&self.cache, "created"))?;
        let _lock = lock(&self.cache.join(format!("{}.lock", file.name)))?;
        // Search again: another process may have downloaded the file while this one waited for the lock.
        let rejected = match self.find(file, accept) {
            Ok(path) => return Ok(path),
            Err(rejected) => rejected,
        };
        let requested = self.request(file, rejected);
        let part = self.cache.join(format!("{}.part", file.name));
        download(&requested, &part, file.bytes, &Limits::default(), progress)?;
        self.move_into_cache(file, &part, accept, requested)
    }

    /// Verifies the download `part`, and renames it to the cache's copy of `file`; deletes it if it is rejected.
    fn move_into_cache(
        &self,
        file: &WeightFile,
        part: &Path,
        accept: &dyn Fn(&Path) -> Result<(), String>,
        requested: RequestedFile,
    ) -> Result<PathBuf, HubError> {
        let requested = Box::new(requested);
        let error = match verify(file, part, accept).map_err(disk_error(part, "read"))? {
            Verification::Match => {
                let path = self.cache.join(&*file.name);
                fs::rename(part, &path).map_err(disk_error(&path, "written"))?;
                return Ok(path);
            }
            Verification::WrongHash { expected, received, reason } => {
                HubError::WrongHash { requested, expected, received, reason }
            }
            Verification::WrongContent { reason } => HubError::WrongContent { requested, reason },
        };
        fs::remove_file(part).map_err(disk_error(part, "deleted"))?;
        Err(error)
    }
}

/// The result of [`verify`].
enum Verification {
    Match,
    /// The hash differs, and the content is rejected.
    WrongHash {
        expected: Hash,
        received: String,
        reason: String,
    },
    /// There is no published hash, and the content is rejected.
    WrongContent {
        reason: String,
    },
}

/// Compares the hash of the file at `path` with that of `file`; asks `accept` if they differ or none is published.
fn verify(file: &WeightFile, path: &Path, accept: &dyn Fn(&Path) -> Result<(), String>) -> io::Result<Verification> {
    let received = file.hash.map(|hash| Ok::<_, io::Error>((hash, hash.digits_of(path)?))).transpose()?;
    if received.as_ref().is_some_and(|(expected, received)| expected.digits() == received) {
        return Ok(Verification::Match);
    }
    Ok(match (accept(path), received) {
        (Ok(()), _) => Verification::Match,
        (Err(reason), Some((expected, received))) => Verification::WrongHash { expected, received, reason },
        (Err(reason), None) => Verification::WrongContent { reason },
    })
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::fs;

    use super::*;
    use crate::HubErrorKind;

    const CONTENT: &[u8] = b"message digest";
    const FILE: WeightFile = WeightFile {
        name: Cow::Borrowed("weights.h5"),
        url: Cow::Borrowed("http://127.0.0.1:9/nobody/Weights.h5"),
        hash: Hash::of_digits("f96b697d7cb7938d525a2f31aaf161d0"),
        bytes: Some(14),
    };

    fn reject(_: &Path) -> Result<(), String> {
        Err("other tensors".to_owned())
    }

    fn hub(folder: &Path) -> Hub {
        Hub::new(folder.join("cache"), folder.join("keras"))
    }

    fn put(folder: &Path, content: &[u8]) -> PathBuf {
        fs::create_dir_all(folder).unwrap();
        let path = folder.join(&*FILE.name);
        fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn the_cache_is_asked_first_and_then_the_folder_of_keras() {
        let folder = tempfile::tempdir().unwrap();
        let hub = hub(folder.path());
        let in_keras = put(&hub.keras, CONTENT);
        let fetch = || hub.fetch(&FILE, &reject, &mut |_, _| panic!("a cached file must not be downloaded")).unwrap();
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

    #[cfg(not(feature = "download"))]
    #[test]
    fn without_downloads_a_missing_file_is_an_error_that_names_the_feature() {
        let folder = tempfile::tempdir().unwrap();
        let hub = hub(folder.path());
        let bad = put(&hub.keras, b"damaged");
        let error = hub.fetch(&FILE, &reject, &mut |_, _| {}).unwrap_err();
        assert!(matches!(error, HubError::NoDownload { .. }), "{error}");
        assert_eq!(error.kind(), HubErrorKind::NotFound);
        let message = error.to_string();
        assert!(message.contains("feature `download`"), "{message}");
        assert!(message.contains(&bad.display().to_string()), "{message}");
        assert!(!hub.cache.exists());
    }

    #[cfg(feature = "download")]
    mod downloads {
        use std::error::Error;

        use super::*;
        use crate::test_server::{Reply, Server};

        #[test]
        fn a_bad_copy_in_the_cache_is_replaced_and_one_of_keras_is_left_alone() {
            let folder = tempfile::tempdir().unwrap();
            let server = Server::start(|_, start| Reply::from(CONTENT, start));
            let hub = Hub { mirror: Some(format!("{}/mirror/", server.url)), ..hub(folder.path()) };
            let in_cache = put(&hub.cache, b"damaged");
            let in_keras = put(&hub.keras, b"damaged, too");
            assert_eq!(hub.fetch(&FILE, &reject, &mut |_, _| {}).unwrap(), in_cache);
            assert_eq!(fs::read(in_cache).unwrap(), CONTENT);
            assert_eq!(fs::read(in_keras).unwrap(), b"damaged, too");
            assert_eq!(server.paths(), ["/mirror/weights.h5"]);
        }

        #[test]
        fn without_a_server_the_error_names_the_file_the_folders_and_rejected_copies() {
            let folder = tempfile::tempdir().unwrap();
            let hub = hub(folder.path());
            let bad = put(&hub.keras, b"");
            let error = hub.fetch(&FILE, &reject, &mut |_, _| {}).unwrap_err();
            assert!(matches!(error, HubError::Offline { .. }), "{error}");
            assert_eq!(error.kind(), HubErrorKind::Network);
            assert!(error.source().is_some_and(|source| source.is::<ureq::Error>()));
            let message = error.to_string();
            let rejected =
                format!("{} is not used: its MD5 is d41d8cd98f00b204e9800998ecf8427e (other tensors)", bad.display());
            let into = format!("into {} or {}", hub.cache.display(), hub.keras.display());
            for expected in [
                &*FILE.url,
                "(MD5 f96b697d7cb7938d525a2f31aaf161d0)",
                "put weights.h5 ",
                "ENGRAFT_WEIGHTS_URL",
                &rejected,
                &into,
            ] {
                assert!(message.contains(expected), "{expected:?} is missing from {message}");
            }
        }

        #[test]
        fn a_mirror_that_is_no_address_is_named_and_leaves_nothing_behind() {
            let folder = tempfile::tempdir().unwrap();
            let hub = Hub { mirror: Some("/some/folder".to_owned()), ..hub(folder.path()) };
            let message = hub.fetch(&FILE, &reject, &mut |_, _| {}).unwrap_err().to_string();
            assert!(
                message.contains("/some/folder/weights.h5: can't be reached: its address doesn't begin"),
                "{message}"
            );
            assert!(!hub.cache.join("weights.h5.part").exists());
        }

        #[test]
        fn a_download_with_another_md5_is_deleted_unless_its_content_is_accepted() {
            let folder = tempfile::tempdir().unwrap();
            let server = Server::start(|_, start| Reply::from(b"another file", start));
            let hub = Hub { mirror: Some(server.url), ..hub(folder.path()) };
            let error = hub.fetch(&FILE, &reject, &mut |_, _| {}).unwrap_err();
            assert!(matches!(error, HubError::WrongHash { .. }));
            assert_eq!(error.kind(), HubErrorKind::InvalidData);
            let message = error.to_string();
            assert!(
                message.contains(
                    "expected MD5 f96b697d7cb7938d525a2f31aaf161d0, received 50e55790ffe629eab86d207fc98bf710"
                ),
                "{message}"
            );
            assert!(!hub.cache.join("weights.h5").exists() && !hub.cache.join("weights.h5.part").exists());

            let path = hub.fetch(&FILE, &|_| Ok(()), &mut |_, _| {}).unwrap();
            assert_eq!(fs::read(path).unwrap(), b"another file");
        }

        #[test]
        fn without_a_published_hash_the_content_decides_about_downloads_and_copies() {
            let folder = tempfile::tempdir().unwrap();
            let server = Server::start(|_, start| Reply::from(b"weights of the network", start));
            let hub = Hub { mirror: Some(server.url), ..hub(folder.path()) };
            let file = WeightFile { hash: None, ..FILE };
            let error = hub.fetch(&file, &reject, &mut |_, _| {}).unwrap_err();
            assert!(matches!(error, HubError::WrongContent { .. }), "{error}");
            assert_eq!(error.kind(), HubErrorKind::InvalidData);
            let message = error.to_string();
            assert!(message.contains("received another file (other tensors); the download was deleted"), "{message}");
            assert!(!hub.cache.join("weights.h5").exists() && !hub.cache.join("weights.h5.part").exists());

            let accept = |path: &Path| match fs::read(path) {
                Ok(content) if content.starts_with(b"weights") => Ok(()),
                _ => Err("other tensors".to_owned()),
            };
            let path = hub.fetch(&file, &accept, &mut |_, _| {}).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"weights of the network");
            let again = hub.fetch(&file, &accept, &mut |_, _| panic!("the copy in the cache is accepted")).unwrap();
            assert_eq!(again, path);
        }

        #[test]
        fn two_concurrent_calls_download_a_file_once() {
            let folder = tempfile::tempdir().unwrap();
            let server = Server::start(|_, start| Reply::from(CONTENT, start));
            let hub = Hub { mirror: Some(server.url.clone()), ..hub(folder.path()) };
            let fetch = || hub.fetch(&FILE, &reject, &mut |_, _| {}).unwrap();
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
            let error = hub.fetch(&FILE, &reject, &mut |_, _| {}).unwrap_err();
            assert!(matches!(&error, HubError::Disk { path, action: "created", .. } if *path == hub.cache), "{error}");
            assert_eq!(error.kind(), HubErrorKind::Io);
            assert!(error.source().is_some_and(|source| source.is::<io::Error>()));
            assert!(error.to_string().contains("set ENGRAFT_CACHE"));
        }
    }
}
