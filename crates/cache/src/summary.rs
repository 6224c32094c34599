//! [`Listing`]: what the cache holds, for people.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use crate::folder::{network_folder, networks, packs, read_name};
use crate::pack::read_index;

/// What a cache holds.
///
/// ```
/// use engraft_cache::FeatureCache;
/// # let home = tempfile::tempdir()?;
/// let cache = FeatureCache::new(home.path().join("features"), 1 << 30);
/// let features = cache.open([1; 32], "VGG16, 224 x 224", 2);
/// for photo in 0..5 {
///     features.put(&[photo; 32], 0, &[0.0, 1.0]);
/// }
/// features.flush();
/// let listing = cache.list()?;
/// assert_eq!((listing.networks[0].name.as_str(), listing.networks[0].photos), ("VGG16, 224 x 224", 5));
/// assert_eq!(listing.bytes, listing.networks[0].bytes);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The networks with entries, the most recently used first.
    pub networks: Vec<NetworkSummary>,
    /// Bytes of all packs.
    pub bytes: u64,
}

/// What a cache holds of one network.
///
/// ```
/// use engraft_cache::FeatureCache;
/// # let home = tempfile::tempdir()?;
/// let cache = FeatureCache::new(home.path().join("features"), 1 << 30);
/// cache.open([0xab; 32], "VGG16", 1).put(&[0; 32], 0, &[0.5]);
/// let network = &cache.list()?.networks[0];
/// assert!(network.key.starts_with("abab"));
/// assert!(network.last_used.elapsed().is_ok_and(|age| age.as_secs() < 3600));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSummary {
    /// The key of the network, 64 hexadecimal digits.
    pub key: String,
    /// The name that the network was opened with first, without control characters.
    pub name: String,
    /// Photos with entries; several variants of a photo count once.
    pub photos: usize,
    /// Bytes of its packs.
    pub bytes: u64,
    /// When one of its packs was last read or written.
    pub last_used: SystemTime,
}

pub(crate) fn list(folder: &Path) -> io::Result<Listing> {
    let mut summaries = Vec::new();
    for network in networks(folder)? {
        let network_folder = network_folder(folder, &network);
        let packs = packs(&network_folder)?;
        let Some(last_used) = packs.iter().map(|pack| pack.used).max() else { continue };
        let indices = packs.iter().filter_map(|pack| read_index(&pack.path, &network));
        let photos: HashSet<_> = indices.flat_map(|(_, index)| index).map(|entry| entry.key.photo).collect();
        let name = read_name(&network_folder).chars().filter(|character| !character.is_control()).collect();
        let bytes = packs.iter().map(|pack| pack.bytes).sum();
        let key = network_folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        summaries.push(NetworkSummary { key, name, photos: photos.len(), bytes, last_used });
    }
    summaries.sort_by(|a, b| (b.last_used, &a.key).cmp(&(a.last_used, &b.key)));
    Ok(Listing { bytes: summaries.iter().map(|network| network.bytes).sum(), networks: summaries })
}
