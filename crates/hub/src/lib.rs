//! Finds, downloads and verifies pretrained weight files.
//!
//! [`Hub::fetch`] looks in a cache and in Keras' own cache first. Nothing here knows models: a callback decides whether a file
//! with another hash, or of a file without a published one, is acceptable.
//!
//! ```
//! use engraft_hub::{Hash, Hub, WeightFile};
//!
//! # let folder = tempfile::tempdir()?;
//! # let (cache, keras) = (folder.path().join("cache"), folder.path().join("keras"));
//! let flowers = WeightFile {
//!     name: "flowers.h5".into(),
//!     url: "https://example.org/weights/flowers.h5".into(),
//!     hash: Hash::of_digits("f96b697d7cb7938d525a2f31aaf161d0"),
//!     bytes: Some(14),
//! };
//! // The file is in the cache already, so nothing is downloaded. `Hub::from_env` finds the cache of the user.
//! std::fs::create_dir(&cache)?;
//! std::fs::write(cache.join("flowers.h5"), "message digest")?;
//! let hub = Hub::new(&cache, &keras);
//! let reject = |_path: &std::path::Path| Err("the hash differs".to_owned());
//! let path = hub.fetch(&flowers, &reject, &mut |done, total| eprintln!("{done} of {total:?} bytes"))?;
//! assert_eq!(path, cache.join("flowers.h5"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! `download` (default): downloads missing files over HTTPS. Without it, the crate depends on no HTTP client; files in the cache
//! and in Keras' folder are found and verified, and a missing file is [`HubError::NoDownload`].

#[cfg(feature = "download")]
mod download;
mod environment;
mod error;
mod hash;
mod hub;
#[cfg(feature = "download")]
mod limits;
#[cfg(feature = "download")]
mod lock;
#[cfg(feature = "download")]
mod partial_file;
#[cfg(feature = "download")]
#[cfg(test)]
mod test_server;
mod weights;

pub use error::{HubError, HubErrorKind, RequestedFile};
pub use hash::Hash;
pub use hub::Hub;
pub use weights::{VGG16, VGG16_NOTOP, WeightFile};
