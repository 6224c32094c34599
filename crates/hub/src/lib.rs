//! Finds, downloads and verifies pretrained weight files.
//!
//! [`Hub::fetch`] looks in a cache and in Keras' own cache first. Nothing here knows models: a callback decides whether a file
//! with another MD5 is acceptable.
//!
//! ```no_run
//! use engraft_hub::{Hub, VGG16_NOTOP};
//!
//! let hub = Hub::from_env()?;
//! let reject = |_path: &std::path::Path| Err("the MD5 differs".to_owned());
//! let path = hub.fetch(&VGG16_NOTOP, &reject, &mut |done, total| {
//!     eprintln!("{done} of {total:?} bytes");
//! })?;
//! println!("the weights are in {}", path.display());
//! # Ok::<(), engraft_hub::HubError>(())
//! ```

mod download;
mod environment;
mod error;
mod hash;
mod hub;
mod limits;
mod partial_file;
#[cfg(test)]
mod test_server;
mod weights;

pub use error::{HubError, HubErrorKind, RequestedFile};
pub use hub::Hub;
pub use weights::{VGG16, VGG16_NOTOP, WeightFile};
