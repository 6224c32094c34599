//! [`NetworkFeatures`]: the entries of one network.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use crate::pack::{EntryKey, IndexEntry, PackBuilder, read_index, read_values};
use crate::{Digest, FeatureCache};

/// The entries of one network: vectors of f32 of one length, by photo and variant. Many threads may use it at once.
///
/// [`put`](Self::put) collects entries, and writes them whenever there are about 4 MiB of them. [`flush`](Self::flush) and
/// dropping the value write the rest.
///
/// ```
/// use engraft_cache::FeatureCache;
/// # let home = tempfile::tempdir()?;
/// let cache = FeatureCache::new(home.path().join("features"), 1 << 30);
/// let features = cache.open([1; 32], "VGG16", 2);
/// // Variant 0 of a photo, and an augmented variant.
/// features.put(&[7; 32], 0, &[0.5, 1.0]);
/// features.put(&[7; 32], 1, &[0.6, 0.9]);
/// drop(features);
///
/// let features = cache.open([1; 32], "VGG16", 2);
/// let mut values = [0.0; 2];
/// assert!(features.get(&[7; 32], 1, &mut values));
/// assert_eq!(values, [0.6, 0.9]);
/// assert!(!features.get(&[7; 32], 2, &mut values));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct NetworkFeatures {
    cache: FeatureCache,
    network: Digest,
    name: String,
    length: usize,
    stored: RwLock<Stored>,
    collected: Mutex<Collected>,
}

/// The entries on disk.
#[derive(Debug, Default)]
struct Stored {
    packs: Vec<Pack>,
    /// The index of the pack and the place in it.
    entries: HashMap<EntryKey, (usize, IndexEntry)>,
}

#[derive(Debug)]
struct Pack {
    path: PathBuf,
    /// Whether this value has recorded the use of the pack.
    used: AtomicBool,
}

/// The entries that aren't written yet.
#[derive(Debug, Default)]
struct Collected {
    keys: HashSet<EntryKey>,
    pack: PackBuilder,
}

impl NetworkFeatures {
    pub(crate) fn new(cache: FeatureCache, network: Digest, name: String, length: usize, packs: Vec<PathBuf>) -> Self {
        let mut stored = Stored::default();
        packs.into_iter().for_each(|path| stored.add(path, &network, length));
        Self { cache, network, name, length, stored: RwLock::new(stored), collected: Mutex::default() }
    }

    /// Whether the cache has an entry. A damaged one may count until it is read.
    pub fn contains(&self, photo: &Digest, variant: u32) -> bool {
        let stored = self.stored.read().unwrap_or_else(PoisonError::into_inner);
        stored.entries.contains_key(&EntryKey { photo: *photo, variant })
    }

    /// Reads an entry into `values`. Returns whether it is there and intact; if not, `values` is undefined.
    ///
    /// An entry that was put and isn't written yet is not found.
    pub fn get(&self, photo: &Digest, variant: u32, values: &mut [f32]) -> bool {
        if values.len() != self.length {
            return false;
        }
        let stored = self.stored.read().unwrap_or_else(PoisonError::into_inner);
        let Some((pack, entry)) = stored.entries.get(&EntryKey { photo: *photo, variant }) else { return false };
        let pack = &stored.packs[*pack];
        let intact = read_values(&pack.path, entry, values);
        if intact && !pack.used.swap(true, Ordering::Relaxed) {
            self.cache.record_use(&pack.path);
        }
        intact
    }

    /// Adds an entry. Does nothing if `values` has another length than the network's, or if the cache stores nothing more.
    pub fn put(&self, photo: &Digest, variant: u32, values: &[f32]) {
        if values.len() != self.length || !self.cache.stores() {
            return;
        }
        let key = EntryKey { photo: *photo, variant };
        let mut collected = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        if collected.keys.insert(key) {
            collected.pack.add(key, values);
        }
        if collected.pack.is_full() {
            self.write(&mut collected);
        }
    }

    /// Writes the entries that aren't written yet. A failure is in [`FeatureCache::note`].
    pub fn flush(&self) {
        let mut collected = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        if !collected.pack.is_empty() {
            self.write(&mut collected);
        }
    }

    fn write(&self, collected: &mut Collected) {
        let parts = std::mem::take(&mut collected.pack).into_parts(&self.network, self.length);
        collected.keys.clear();
        if let Some(path) = self.cache.store(&self.network, &self.name, &parts) {
            let mut stored = self.stored.write().unwrap_or_else(PoisonError::into_inner);
            stored.add(path, &self.network, self.length);
        }
    }
}

impl Stored {
    /// Adds the entries of a pack, unless it is damaged.
    fn add(&mut self, path: PathBuf, network: &Digest, length: usize) {
        let index = read_index(&path, network).filter(|(found, _)| *found == length);
        if let Some((_, index)) = index {
            let pack = self.packs.len();
            self.packs.push(Pack { path, used: AtomicBool::new(false) });
            self.entries.extend(index.into_iter().map(|entry| (entry.key, (pack, entry))));
        }
    }
}

impl Drop for NetworkFeatures {
    fn drop(&mut self) {
        self.flush();
    }
}
