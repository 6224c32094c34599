//! HDF5 files as Keras writes them: a tree of groups, numeric datasets and string attributes.
//!
//! Only this module uses the HDF5 crate. Its callers see paths inside a file (`layers/dense/vars/0`),
//! shapes, numbers (`f32`, `i32`, `i64`) and strings. Links to other files, external storage and virtual datasets are
//! refused: Keras never writes them, and a model file must hold its own weights.
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

use crate::error::{Cause, HasErrorKind, kind_of_reading};

mod block_cache;
mod budget;
mod convert_error;
mod counting_source;
mod datatype;
mod h5_file;
mod h5_writer;
mod members;
mod parallel_reader;
mod sparse_file;

pub use h5_file::{H5Entry, H5File, is_hdf5};
pub use h5_writer::H5Writer;
pub(crate) use parallel_reader::ParallelReader;

/// The largest number of components of a path inside a file.
///
/// Keras needs two components per level of model nesting. The limit ends a walk through a group that
/// contains itself.
///
/// ```
/// use engraft_formats::h5::{H5Error, H5Writer, MAX_DEPTH};
/// let mut writer = H5Writer::new();
/// assert!(writer.group(&"inner/".repeat(MAX_DEPTH)).is_ok());
/// assert!(matches!(writer.group(&"inner/".repeat(MAX_DEPTH + 1)), Err(H5Error::Depth { .. })));
/// ```
pub const MAX_DEPTH: usize = 64;

/// The most bytes of a list of names in one attribute. Keras splits a longer list into attributes `name0`, `name1`, ….
///
/// An HDF5 header message takes at most 64 KiB. Keras calls the limit `HDF5_OBJECT_HEADER_LIMIT`.
const ATTRIBUTE_LIMIT: usize = 64512;

/// An error of reading or writing an HDF5 file, with the path inside the file where there is one.
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
    /// The file can't be read, isn't HDF5, or is truncated.
    #[error("cannot open as HDF5: {reason}")]
    Open {
        /// The message of the HDF5 reader or the system.
        reason: String,
        /// The underlying error, if there is one.
        #[source]
        source: Option<Cause>,
    },
    /// The file is a Python pickle, which is never read.
    #[error("cannot open as HDF5: {}", crate::pickle::REFUSED)]
    Pickle,
    /// The path leads to nothing, or to an object of another kind.
    #[error(
        "`{path}`: expected a {expected}, found none in this file \
         (links to other places are never followed)"
    )]
    Missing {
        /// The path inside the file.
        path: String,
        /// The expected kind of object: `group`, `dataset`, ….
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
    /// The declared size exceeds the bytes left of the memory budget for this file.
    #[error(
        "`{path}`: declares {declared} bytes, but only {left} are left of the budget for this \
         file; if the file can be trusted, raise the budget"
    )]
    Budget {
        /// The path inside the file.
        path: String,
        /// Bytes that the values would take in memory.
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
    /// A dataset or an attribute has another type than the reader expects.
    #[error("`{path}`: expected {expected}, received {received}")]
    Type {
        /// The path inside the file.
        path: String,
        /// The accepted types.
        expected: &'static str,
        /// The type found.
        received: String,
    },
    /// The number of values given to the writer doesn't match the shape.
    #[error("`{path}`: shape {shape:?} doesn't hold {received} values")]
    Shape {
        /// The path inside the file.
        path: String,
        /// The shape given.
        shape: Vec<usize>,
        /// The number of values given.
        received: usize,
    },
    /// A name given to the writer is empty or taken, or a path leads through a dataset.
    #[error("`{path}`: {reason}")]
    Name {
        /// The path inside the file.
        path: String,
        /// The problem with the name.
        reason: &'static str,
    },
    /// The file is damaged at this path, or uses an unsupported feature of HDF5.
    #[error("`{path}`: damaged or unsupported: {reason}")]
    Damaged {
        /// The path inside the file.
        path: String,
        /// The message of the HDF5 reader or the system.
        reason: String,
        /// The underlying error, if there is one.
        #[source]
        source: Option<Cause>,
    },
    /// The output refused the bytes, or the file layout could not be made.
    #[error("cannot write HDF5: {reason}")]
    Write {
        /// The message of the HDF5 writer or the system.
        reason: String,
        /// The underlying error, if there is one.
        #[source]
        source: Option<Cause>,
    },
}

impl H5Error {
    /// The category of the error, for programs that react to it.
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

    /// Damage found by a check of our own, without an underlying error.
    fn damaged(path: &str, reason: String) -> Self {
        Self::Damaged { path: path.to_owned(), reason, source: None }
    }
}

/// A missing array counts as invalid data and not as "not found": the format, not the caller, determines its path.
impl HasErrorKind for H5Error {
    fn error_kind(&self) -> ErrorKind {
        match self {
            Self::Missing { .. } => ErrorKind::InvalidData,
            _ => self.kind(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;
    use crate::error::at;

    #[test]
    fn an_array_that_a_file_lacks_is_the_files_fault() {
        let missing = H5Error::Missing { path: "layers".into(), expected: "group" };
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let error = at("weights", missing);
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.source().is_some_and(|source| source.is::<H5Error>()));
    }
}
