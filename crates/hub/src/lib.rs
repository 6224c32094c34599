//! Finds, downloads and verifies pretrained weight files.
//!
//! ```no_run
//! use engraft_hub::{Hub, VGG16_NOTOP};
//!
//! let hub = Hub::from_env()?;
//! let path = hub.fetch(&VGG16_NOTOP, &|_path| Err("another file".to_owned()), &mut |done, total| {
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
mod part;
#[cfg(test)]
mod test_server;
mod weights;

pub use error::{HubError, HubErrorKind, Wanted};
pub use hub::Hub;
pub use weights::{VGG16, VGG16_NOTOP, WeightFile};
