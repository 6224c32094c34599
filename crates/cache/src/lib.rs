//! A cache on disk for the features that frozen networks compute from photos.
//!
//! [`FeatureCache`] is a folder with a limit on its size. [`NetworkFeatures`] are the entries of one network: vectors of f32 of
//! one length, by the digest of a photo's file and the number of a variant of the photo.
//!
//! The cache is never needed: a damaged entry counts as missing, and a folder or disk that can't be written stores nothing.
//! [`FeatureCache::note`] then tells why.
//!
//! # On disk
//! The folder has one folder for each network. Entries lie in *packs* of about 4 MiB, not in one file each: 50,000 small files
//! take longer to create, list and delete than to read. A pack is written once, under a temporary name, and never changed, so
//! that processes need no lock. When the limit is reached, the packs that were used longest ago are deleted.
//!
//! ```
//! use engraft_cache::FeatureCache;
//! # let home = tempfile::tempdir()?;
//! # let folder = home.path().join("features");
//! let (network, photo) = ([1; 32], [2; 32]);
//! let cache = FeatureCache::new(&folder, 1 << 30);
//! let features = cache.open(network, "VGG16, 224 x 224", 3);
//! features.put(&photo, 0, &[0.5, 1.0, 1.5]);
//! features.flush();
//!
//! // Later, in another process.
//! let features = FeatureCache::new(&folder, 1 << 30).open(network, "VGG16, 224 x 224", 3);
//! let mut values = [0.0; 3];
//! assert!(features.get(&photo, 0, &mut values));
//! assert_eq!(values, [0.5, 1.0, 1.5]);
//! assert!(!features.contains(&[3; 32], 0));
//! # Ok::<(), std::io::Error>(())
//! ```

mod cache;
mod folder;
mod limit;
mod network;
mod pack;
mod size;
mod summary;

pub use cache::FeatureCache;
pub use limit::InvalidLimit;
pub use network::NetworkFeatures;
pub use size::parse_size;
pub use summary::{Listing, NetworkSummary};

/// A SHA-256 digest: of a photo's file, or of what determines the outputs of a network.
///
/// ```
/// let photo: engraft_cache::Digest = [7; 32];
/// assert_eq!(photo.len(), 32);
/// ```
pub type Digest = [u8; 32];
