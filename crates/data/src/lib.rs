//! Loads photos as training data: folders by class or a label file, decoding, resizing, validation split, batches.
//!
//! [`PhotoFolder::scan`] finds and verifies the photos below a folder with one subfolder per class;
//! [`PhotoFolder::scan_labels`] takes labels from a CSV file, several for a photo if need be. [`split`] divides them into a
//! training set and a validation set. A [`PhotoDataset`] decodes either set batch by batch. Photo files are never modified.
//!
//! Augmentation is not here: random layers of the model do it (`engraft_nn::layers`).
//!
//! ```
//! # let photos = tempfile::tempdir()?;
//! # let dir = photos.path();
//! # for class in ["cat", "dog"] {
//! #     std::fs::create_dir(dir.join(class))?;
//! #     for n in 0..5 {
//! #         // A BMP image of one pixel.
//! #         let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
//! #         bmp.extend([0; 24]);
//! #         bmp.extend([n, class.as_bytes()[0], 0, 0]);
//! #         std::fs::write(dir.join(class).join(format!("{n}.bmp")), bmp)?;
//! #     }
//! # }
//! use engraft_data::{Dataset, PhotoDataset, PhotoFolder, split};
//!
//! // `dir` holds the folders `cat` and `dog` with five photos each.
//! let folder = PhotoFolder::scan(dir, &mut |_done, _total| {})?;
//! for bad in &folder.skipped {
//!     eprintln!("skipped {}: {}", bad.path.display(), bad.reason);
//! }
//! let sets = split(&folder.photos, 0.2, 1)?;
//! let training = PhotoDataset::new(sets.training, folder.classes.len(), [64, 64])?.keep_in_memory(1 << 30);
//! assert_eq!(training.len(), 8);
//! let batch = training.batch(&[0, 1, 2, 3])?;
//! assert_eq!((batch.x.shape(), batch.y.shape()), (&[4, 64, 64, 3][..], &[4, 2][..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod color_mode;
mod csv;
mod dataset;
mod decode;
mod decode_memory;
mod file;
mod file_listing;
mod jpeg;
mod label_file;
mod left_out;
mod load;
mod photo;
mod photo_dataset;
mod photo_extension;
mod photo_folder;
mod photo_listing;
mod png_checks;
mod resize;
mod split;
mod system_files;
mod tiff_checks;
mod truncation;
mod unicode;
mod unread_format;
mod verification;

pub use color_mode::ColorMode;
pub use dataset::{Arrays, Batch, Dataset};
pub use decode::{DECODER_VERSION, MAX_PIXELS, Pixels, decode, decode_bytes};
pub use decode_memory::limit_decode_memory;
pub use engraft_nn::{Error, Result};
pub use file::MAX_FILE_BYTES;
pub use label_file::LabelFile;
pub use left_out::LeftOut;
pub use photo::{Photo, SkippedFile};
pub use photo_dataset::PhotoDataset;
pub use photo_folder::PhotoFolder;
pub use photo_listing::PhotoListing;
pub use split::{Part, Split, split, split_new};
pub use system_files::is_system_folder;
pub use unicode::normalized;
pub use verification::KnownPhotos;
