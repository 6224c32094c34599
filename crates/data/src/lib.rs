//! Photos into tensors: folders, decoding, orientation, resizing, splits, batches.
//!
//! A folder with one subfolder per class becomes a [`PhotoFolder`], which [`split`]s into photos to train on and photos to
//! validate on; a [`PhotoDataset`] turns either into the batches that training reads. Photos are only ever read.
//!
//! ```no_run
//! use engraft_data::{Dataset, PhotoDataset, PhotoFolder, split};
//!
//! let folder = PhotoFolder::scan("photos".as_ref(), &mut |_done, _total| {})?;
//! for bad in &folder.skipped {
//!     eprintln!("skipped {}: {}", bad.path.display(), bad.reason);
//! }
//! let parts = split(&folder.photos, 0.2, 1)?;
//! let training = PhotoDataset::new(parts.training, folder.classes.len(), [256, 256])?.keep_in_memory(1 << 30);
//! let batch = training.batch(&[0, 1, 2, 3])?;
//! assert_eq!(batch.x.shape(), [4, 256, 256, 3]);
//! # Ok::<(), engraft_data::Error>(())
//! ```

mod complete;
mod dataset;
mod decode;
mod file;
mod folder;
mod jpeg;
mod listing;
mod photos;
mod png;
mod resize;
mod screen;
mod split;

pub use dataset::{Arrays, Batch, Dataset};
pub use decode::{MAX_PIXELS, Pixels, decode, decode_bytes};
pub use engraft_nn::{Error, Result};
pub use file::MAX_FILE_BYTES;
pub use folder::{Photo, PhotoFolder, Skipped};
pub use photos::PhotoDataset;
pub use split::{Split, split};
