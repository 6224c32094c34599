//! [`FeatureCache`]: the folder with its limit.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::limit::{InvalidLimit, VARIABLE, parse};
use crate::{Digest, Listing, NetworkFeatures, folder, summary};

/// A cache of features on disk: a folder whose size is limited. Clones share the folder and the limit.
///
/// Several processes may use one folder at once.
///
/// ```
/// use engraft_cache::FeatureCache;
/// # let home = tempfile::tempdir()?;
/// let cache = FeatureCache::new(home.path().join("features"), 1 << 30);
/// assert_eq!(cache.limit(), Some(1 << 30));
/// cache.open([1; 32], "VGG16", 1).put(&[2; 32], 0, &[0.5]);
/// assert_eq!(cache.list()?.networks[0].photos, 1);
/// assert_eq!(cache.note(), None);
/// assert!(cache.clear()? > 0);
/// assert!(cache.list()?.networks.is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FeatureCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None` for a cache that is off.
    place: Option<Place>,
    /// Packs that this process has read or written. It doesn't delete them, so that one run can't displace its own features.
    used: Mutex<HashSet<PathBuf>>,
    /// Why the cache stores nothing more.
    stopped: OnceLock<String>,
}

#[derive(Debug)]
struct Place {
    folder: PathBuf,
    limit: u64,
}

impl FeatureCache {
    /// A cache in `folder` of at most `limit` bytes. The folder is created when something is stored.
    pub fn new(folder: impl Into<PathBuf>, limit: u64) -> Self {
        Self::at(Some(Place { folder: folder.into(), limit }))
    }

    /// A cache that stores and finds nothing.
    ///
    /// ```
    /// use engraft_cache::FeatureCache;
    /// let features = FeatureCache::off().open([1; 32], "VGG16", 1);
    /// features.put(&[2; 32], 0, &[0.5]);
    /// features.flush();
    /// assert!(!features.contains(&[2; 32], 0));
    /// ```
    pub fn off() -> Self {
        Self::at(None)
    }

    fn at(place: Option<Place>) -> Self {
        Self(Arc::new(Inner { place, used: Mutex::default(), stopped: OnceLock::new() }))
    }

    /// The cache in the folder `features` of `cache_folder`, with the limit of the environment variable `ENGRAFT_FEATURE_CACHE`.
    ///
    /// The variable is a size such as `500MiB` or `4GB`, or `off`; 2 GiB without it. Without a `cache_folder`, because no home
    /// folder is known, the cache is off, and [`note`](Self::note) tells it.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use engraft_cache::FeatureCache;
    /// let cache = FeatureCache::from_env(Some(Path::new("/home/me/.cache/engraft")))?;
    /// match cache.folder() {
    ///     Some(folder) => assert!(folder.ends_with("engraft/features")),
    ///     None => assert_eq!(std::env::var("ENGRAFT_FEATURE_CACHE").as_deref(), Ok("off")),
    /// }
    /// # Ok::<(), engraft_cache::InvalidLimit>(())
    /// ```
    ///
    /// # Errors
    /// The variable is neither a size nor `off`.
    pub fn from_env(cache_folder: Option<&Path>) -> Result<Self, InvalidLimit> {
        Self::from_variable(cache_folder, &std::env::var_os(VARIABLE).unwrap_or_default().to_string_lossy())
    }

    fn from_variable(cache_folder: Option<&Path>, limit: &str) -> Result<Self, InvalidLimit> {
        Ok(match (parse(limit)?, cache_folder) {
            (None, _) => Self::off(),
            (Some(limit), Some(folder)) => Self::new(folder.join("features"), limit),
            (Some(_), None) => {
                let cache = Self::off();
                cache.stop("no home folder is known; set ENGRAFT_CACHE to a folder".to_owned());
                cache
            }
        })
    }

    /// The folder; `None` if the cache is off.
    pub fn folder(&self) -> Option<&Path> {
        self.0.place.as_ref().map(|place| place.folder.as_path())
    }

    /// The limit in bytes; `None` if the cache is off.
    pub fn limit(&self) -> Option<u64> {
        self.0.place.as_ref().map(|place| place.limit)
    }

    /// Opens the entries of a network, vectors of `length` values.
    ///
    /// `network` is a digest of all that determines the values. `name` describes the network in [`list`](Self::list). Entries
    /// that other processes store later are not found.
    pub fn open(&self, network: Digest, name: &str, length: usize) -> NetworkFeatures {
        let packs = self.folder().and_then(|folder| folder::packs(&folder::network_folder(folder, &network)).ok());
        let packs = packs.unwrap_or_default().into_iter().map(|pack| pack.path).collect();
        NetworkFeatures::new(self.clone(), network, name.chars().take(200).collect(), length, packs)
    }

    /// Why the cache stores nothing, or nothing more: the disk or the cache is full, or the folder can't be written. `None` if all
    /// is well.
    ///
    /// ```
    /// use engraft_cache::FeatureCache;
    /// let cache = FeatureCache::new("/dev/null/features", 1 << 30);
    /// cache.open([1; 32], "VGG16", 1).put(&[2; 32], 0, &[0.5]);
    /// # #[cfg(unix)]
    /// assert!(cache.note().is_some_and(|note| note.starts_with("/dev/null/features can't be written")));
    /// ```
    pub fn note(&self) -> Option<String> {
        self.0.stopped.get().cloned()
    }

    /// What the cache holds.
    ///
    /// # Errors
    /// The folder can't be read. A folder that is missing holds nothing.
    pub fn list(&self) -> io::Result<Listing> {
        self.folder().map_or(Ok(Listing { networks: Vec::new(), bytes: 0 }), summary::list)
    }

    /// Deletes all entries. Returns the bytes that were freed.
    ///
    /// Other processes that use the cache compute the entries anew.
    ///
    /// # Errors
    /// A file can't be deleted.
    pub fn clear(&self) -> io::Result<u64> {
        self.folder().map_or(Ok(0), folder::clear)
    }

    /// Whether entries are still stored.
    pub(crate) fn stores(&self) -> bool {
        self.0.place.is_some() && self.0.stopped.get().is_none()
    }

    /// Writes a pack. Returns its path, or `None` if it can't be stored.
    pub(crate) fn store(&self, network: &Digest, name: &str, parts: &[Vec<u8>]) -> Option<PathBuf> {
        let place = self.0.place.as_ref().filter(|_| self.stores())?;
        match self.write(place, network, name, parts) {
            Ok(Some(path)) => {
                self.lock_used().insert(path.clone());
                Some(path)
            }
            Ok(None) => {
                let limit = place.limit as f64 / f64::from(1 << 20);
                self.stop(format!("the feature cache is full ({limit:.0} MiB); set {VARIABLE} to more, such as 8GB"));
                None
            }
            Err(error) => {
                self.stop(format!("{} can't be written: {}", place.folder.display(), reason(&error)));
                None
            }
        }
    }

    fn write(&self, place: &Place, network: &Digest, name: &str, parts: &[Vec<u8>]) -> io::Result<Option<PathBuf>> {
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        let used = self.lock_used();
        if !folder::make_room(&place.folder, bytes, place.limit, |pack| used.contains(pack))? {
            return Ok(None);
        }
        let network_folder = folder::network_folder(&place.folder, network);
        folder::write_pack(&network_folder, name, parts)
            // Another process may have cleared the cache in between.
            .or_else(|_| folder::write_pack(&network_folder, name, parts))
            .map(Some)
    }

    /// Records that a pack is used, for this process and for others.
    pub(crate) fn record_use(&self, pack: &Path) {
        folder::touch(pack);
        self.lock_used().insert(pack.to_owned());
    }

    fn stop(&self, reason: String) {
        // The first reason stays.
        let _ = self.0.stopped.set(reason);
    }

    fn lock_used(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An I/O error in words. Its own text may name a temporary file, which means nothing to the user.
fn reason(error: &io::Error) -> String {
    error.raw_os_error().map_or(error.kind().to_string(), |code| io::Error::from_raw_os_error(code).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::{Duration, SystemTime};

    /// 1 KiB of values that differ for each photo.
    fn values(photo: u32) -> Vec<f32> {
        (0..256).map(|index| photo as f32 + index as f32 / 256.0).collect()
    }

    fn digest(photo: u32) -> Digest {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&photo.to_le_bytes());
        digest
    }

    fn put(cache: &FeatureCache, network: u8, photos: std::ops::Range<u32>) {
        let features = cache.open([network; 32], &format!("network {network}"), 256);
        photos.for_each(|photo| features.put(&digest(photo), 0, &values(photo)));
    }

    /// The photos of the range that are found, each with the right values.
    fn found(cache: &FeatureCache, network: u8, photos: std::ops::Range<u32>) -> Vec<u32> {
        let features = cache.open([network; 32], "", 256);
        let mut row = vec![0.0; 256];
        let is_found = |&photo: &u32| {
            let found = features.get(&digest(photo), 0, &mut row);
            assert!(!found || row == values(photo));
            found
        };
        photos.filter(is_found).collect()
    }

    fn packs(cache: &FeatureCache) -> Vec<PathBuf> {
        folder::all_packs(cache.folder().unwrap()).unwrap().into_iter().map(|pack| pack.path).collect()
    }

    #[test]
    fn what_one_process_puts_another_finds() {
        let home = tempfile::tempdir().unwrap();
        // Ten thousand entries make several packs.
        put(&FeatureCache::new(home.path(), 1 << 30), 1, 0..10_000);
        let other = FeatureCache::new(home.path(), 1 << 30);
        assert_eq!(packs(&other).len(), 3);
        assert_eq!(found(&other, 1, 0..10_100), (0..10_000).collect::<Vec<_>>());
        assert_eq!(found(&other, 2, 0..10), []);
        let listing = other.list().unwrap();
        assert_eq!((listing.networks.len(), listing.networks[0].photos), (1, 10_000));
        assert_eq!(listing.networks[0].name, "network 1");
        assert!((10_000 * (1024 + 40)..10_000 * (1024 + 41)).contains(&listing.bytes));
    }

    #[test]
    fn processes_that_write_at_once_lose_nothing_and_keep_to_the_limit() {
        let home = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let cache = FeatureCache::new(home.path(), 1 << 30);
                // The ranges overlap: two processes compute some of the same photos.
                scope.spawn(move || put(&cache, 1, writer * 400..writer * 400 + 600));
            }
        });
        assert_eq!(found(&FeatureCache::new(home.path(), 1 << 30), 1, 0..1800), (0..1800).collect::<Vec<_>>());
    }

    #[test]
    fn damaged_and_foreign_files_count_as_missing() {
        let home = tempfile::tempdir().unwrap();
        let cache = FeatureCache::new(home.path(), 1 << 30);
        put(&cache, 1, 0..10);
        let pack = &packs(&cache)[0];
        let whole = fs::read(pack).unwrap();
        let mut damaged = whole.clone();
        // One bit of the values of photo 3.
        damaged[52 + 10 * 40 + 3 * 1024 + 17] ^= 1;
        fs::write(pack, &damaged).unwrap();
        fs::write(pack.with_file_name("other.pack"), "no pack").unwrap();
        fs::write(pack.with_file_name("empty.pack"), "").unwrap();
        fs::create_dir(pack.with_file_name("folder.pack")).unwrap();
        assert_eq!(found(&cache, 1, 0..10), [0, 1, 2, 4, 5, 6, 7, 8, 9]);
        // Cut while it is open.
        let features = cache.open([1; 32], "", 256);
        fs::write(pack, &whole[..whole.len() - 1]).unwrap();
        assert!(!features.get(&digest(9), 0, &mut [0.0; 256]));
        assert_eq!(found(&cache, 1, 0..10), []);
        // The entry is put again.
        put(&cache, 1, 3..4);
        assert_eq!(found(&cache, 1, 0..10), [3]);
    }

    #[test]
    fn entries_of_another_length_are_not_mixed_up() {
        let home = tempfile::tempdir().unwrap();
        let cache = FeatureCache::new(home.path(), 1 << 30);
        put(&cache, 1, 0..3);
        assert!(!cache.open([1; 32], "", 255).contains(&digest(0), 0));
        let features = cache.open([1; 32], "", 256);
        assert!(!features.get(&digest(0), 0, &mut [0.0; 255]) && !features.get(&digest(0), 1, &mut [0.0; 256]));
        features.put(&digest(8), 0, &[1.0]);
        features.flush();
        assert_eq!(found(&cache, 1, 0..10), [0, 1, 2]);
    }

    #[test]
    fn a_run_displaces_older_features_but_not_its_own() {
        let home = tempfile::tempdir().unwrap();
        let limit = 12 << 20;
        let new = || FeatureCache::new(home.path(), limit);
        put(&new(), 1, 0..4000);
        put(&new(), 2, 0..4000);
        for (pack, age) in packs(&new()).iter().zip([100, 100, 100, 100]) {
            let time = SystemTime::now() - Duration::from_secs(age);
            fs::File::options().append(true).open(pack).unwrap().set_modified(time).unwrap();
        }
        // Network 1 is used again, so that network 2 is the older one.
        assert_eq!(found(&new(), 1, 0..4000).len(), 4000);
        put(&new(), 3, 0..4000);
        assert_eq!([1, 2, 3].map(|network| found(&new(), network, 0..4000).len() == 4000), [true, false, true]);

        // Three times the limit: as much as fits is stored, and stays.
        let cache = new();
        put(&cache, 4, 0..36_000);
        let kept = found(&cache, 4, 0..36_000);
        assert!(kept.len() > 7000 && kept.is_sorted() && kept[0] == 0, "{} entries", kept.len());
        assert!(cache.note().unwrap().contains("is full (12 MiB); set ENGRAFT_FEATURE_CACHE to more"));
        assert!(cache.list().unwrap().bytes <= limit);
        assert!(found(&new(), 1, 0..4000).is_empty(), "older features made room");
    }

    #[test]
    fn a_place_that_cannot_be_written_stores_nothing_and_says_so_once() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "").unwrap();
        let cache = FeatureCache::new(file.join("features"), 1 << 30);
        put(&cache, 1, 0..10);
        assert_eq!(found(&cache, 1, 0..10), []);
        let note = cache.note().unwrap();
        assert!(note.contains("features can't be written: "), "{note}");
        put(&cache, 1, 0..10);
        assert_eq!(cache.note(), Some(note));
        assert!(!cache.stores());
    }

    #[test]
    fn the_environment_sets_the_limit() {
        let home = Some(Path::new("/cache"));
        let cache = FeatureCache::from_variable(home, "500MiB").unwrap();
        assert_eq!((cache.folder(), cache.limit()), (Some(Path::new("/cache/features")), Some(500 << 20)));
        assert_eq!(FeatureCache::from_variable(home, "").unwrap().limit(), Some(2 << 30));
        assert_eq!(FeatureCache::from_variable(home, "off").unwrap().folder(), None);
        assert!(FeatureCache::from_variable(home, "big").is_err());
        let homeless = FeatureCache::from_variable(None, "").unwrap();
        assert!(homeless.note().unwrap().contains("set ENGRAFT_CACHE"));
        assert_eq!((homeless.clear().unwrap(), homeless.list().unwrap().bytes), (0, 0));
    }
}
