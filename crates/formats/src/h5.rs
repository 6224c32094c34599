//! HDF5 as Keras uses it: a tree of groups, numeric datasets and string attributes.
//!
//! This module is the only one that knows how HDF5 is stored. Everything else speaks of paths
//! inside a file (`layers/dense/vars/0`), shapes, `f32` values and strings. What Keras never
//! writes is refused rather than followed: links to other files, external storage, virtual
//! datasets.
//!
//! ```
//! use engraft_formats::h5::{H5File, H5Writer};
//!
//! let kernel = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
//! let mut writer = H5Writer::new();
//! writer.f32("layers/dense/vars/0", &[3, 2], &kernel[..])?;
//! writer.attr_string("layers/dense/vars", "name", "dense_1")?;
//! let mut bytes = Vec::new();
//! writer.write_to(&mut bytes)?;
//!
//! let file = H5File::from_bytes(bytes)?;
//! assert_eq!(file.read_f32("layers/dense/vars/0")?, (vec![3, 2], kernel.to_vec()));
//! assert_eq!(file.attr_string("layers/dense/vars", "name")?.as_deref(), Some("dense_1"));
//! # Ok::<(), engraft_formats::h5::H5Error>(())
//! ```

use engraft_nn::ErrorKind;

use crate::error::{Cause, kind_of_reading};

mod budget;
mod direct;
mod number;
mod read;
mod skeleton;
mod translate;
mod write;

pub(crate) use direct::Direct;
pub use read::{H5Entry, H5File, is_hdf5};
pub use write::H5Writer;

/// A path inside a file may not be deeper than this. Keras needs two components per level of
/// model nesting; the limit ends a walk through a group that contains itself.
///
/// ```
/// use engraft_formats::h5::{H5Error, H5Writer, MAX_DEPTH};
/// let mut writer = H5Writer::new();
/// assert!(writer.group(&"inner/".repeat(MAX_DEPTH)).is_ok());
/// assert!(matches!(writer.group(&"inner/".repeat(MAX_DEPTH + 1)), Err(H5Error::Depth { .. })));
/// ```
pub const MAX_DEPTH: usize = 64;

/// HDF5 keeps an object's attributes in a header message of at most 64 KiB. Keras splits longer
/// lists of names at this many bytes (`HDF5_OBJECT_HEADER_LIMIT`) into `name0`, `name1`, ….
const ATTRIBUTE_LIMIT: usize = 64512;

/// Why an HDF5 file could not be read or written. Every variant but [`H5Error::Open`] and
/// [`H5Error::Write`] names the path inside the file.
///
/// ```
/// use engraft_formats::h5::{H5Error, H5Writer};
/// let mut writer = H5Writer::new();
/// let error = writer.f32("layers/dense/vars/0", &[2, 3], vec![1.0_f32]).unwrap_err();
/// assert!(matches!(&error, H5Error::Shape { received: 1, .. }));
/// assert_eq!(error.to_string(), "`layers/dense/vars/0`: shape [2, 3] doesn't hold 1 values");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum H5Error {
    /// The file can't be read, or isn't HDF5.
    #[error("cannot open as HDF5: {reason}")]
    Open {
        /// What the reader said.
        reason: String,
        /// The error of the system or of the reader that says so.
        #[source]
        source: Option<Cause>,
    },
    /// A file of another kind, which is never read.
    #[error("cannot open as HDF5: {}", crate::pickle::REFUSED)]
    Pickle,
    /// Nothing, or something of another kind, stands at this path.
    #[error(
        "`{path}`: expected a {expected}, found none in this file \
         (links to other places are never followed)"
    )]
    Missing {
        /// The path inside the file.
        path: String,
        /// What was looked for: `group`, `dataset`, ….
        expected: &'static str,
    },
    /// The object stores its data outside the file.
    #[error("`{path}`: {what} is refused, since a model file must hold its own weights")]
    Outside {
        /// The path inside the file.
        path: String,
        /// `external storage` or `a virtual dataset`.
        what: &'static str,
    },
    /// Declared sizes exceed what a file of this length may ask for.
    #[error(
        "`{path}`: declares {declared} bytes, but only {left} are left of the budget for this \
         file; if the file can be trusted, raise the budget"
    )]
    Budget {
        /// The path inside the file.
        path: String,
        /// Bytes that reading it would take.
        declared: u64,
        /// Bytes left of the file's budget.
        left: u64,
    },
    /// The path has more components than [`MAX_DEPTH`].
    #[error("`{path}`: groups nested deeper than {MAX_DEPTH}")]
    Depth {
        /// The path inside the file.
        path: String,
    },
    /// The values have a type that isn't a number, or isn't the one expected.
    #[error("`{path}`: expected {expected}, received {received}")]
    Type {
        /// The path inside the file.
        path: String,
        /// What can be read here.
        expected: &'static str,
        /// The type found.
        received: String,
    },
    /// The values given to the writer don't fill the shape.
    #[error("`{path}`: shape {shape:?} doesn't hold {received} values")]
    Shape {
        /// The path inside the file.
        path: String,
        /// The shape given.
        shape: Vec<usize>,
        /// The number of values given.
        received: usize,
    },
    /// A name stands twice in the tree given to the writer, or isn't a name.
    #[error("`{path}`: {reason}")]
    Name {
        /// The path inside the file.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The file is damaged here, or uses a part of HDF5 that isn't supported.
    #[error("`{path}`: damaged or unsupported: {reason}")]
    Damaged {
        /// The path inside the file.
        path: String,
        /// What the reader said.
        reason: String,
        /// The error of the system or of the reader that says so.
        #[source]
        source: Option<Cause>,
    },
    /// The file couldn't be written.
    #[error("cannot write HDF5: {reason}")]
    Write {
        /// What the writer said.
        reason: String,
        /// The error of the system or of the writer that says so.
        #[source]
        source: Option<Cause>,
    },
}

impl H5Error {
    /// What went wrong, for a program to act on.
    ///
    /// ```
    /// use engraft_formats::h5::H5File;
    /// use engraft_nn::ErrorKind;
    /// assert_eq!(H5File::open("absent.h5".as_ref()).unwrap_err().kind(), ErrorKind::NotFound);
    /// assert_eq!(H5File::from_bytes(b"no HDF5".to_vec()).unwrap_err().kind(), ErrorKind::InvalidData);
    /// ```
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Open { source, .. } | Self::Damaged { source, .. } => kind_of_reading(source.as_ref()),
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Outside { .. } | Self::Pickle => ErrorKind::Unsupported,
            Self::Budget { .. } | Self::Depth { .. } | Self::Type { .. } => ErrorKind::InvalidData,
            Self::Shape { .. } | Self::Name { .. } => ErrorKind::InvalidArgument,
            Self::Write { source, .. } => match source.as_ref().and_then(|source| source.downcast_ref()) {
                Some(error) => std::io::Error::kind(error).into(),
                None => ErrorKind::Internal,
            },
        }
    }

    /// Damage that no other error tells of.
    fn damaged(path: &str, reason: String) -> Self {
        Self::Damaged { path: path.to_owned(), reason, source: None }
    }
}
