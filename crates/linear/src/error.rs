//! [`LinearError`]: why a classifier can't be trained or measured.

/// Result of an operation that can fail with a [`LinearError`].
///
/// ```
/// fn two_classes() -> engraft_linear::Result<engraft_linear::Labels> {
///     engraft_linear::Labels::single(&[0, 1, 1], 2)
/// }
/// assert_eq!(two_classes()?.samples(), 3);
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
pub type Result<T> = std::result::Result<T, LinearError>;

/// Why a classifier can't be trained or measured.
///
/// ```
/// use engraft_linear::{Features, Labels, LinearError};
/// assert_eq!(Labels::single(&[0, 0, 2], 3).unwrap_err(), LinearError::EmptyClass { class: 1 });
/// let error = Features::new(&[1.0, f32::NAN], 1, 2).unwrap_err();
/// assert!(error.to_string().starts_with("features: expected finite numbers, received NaN in sample 0, column 1"));
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LinearError {
    /// The caller's [`Monitor`](crate::Monitor) asked to stop.
    #[error("training: stopped on request")]
    Stopped,
    /// There is no choice to make: a classifier needs two classes, or one label of several a sample.
    #[error("labels: expected at least {expected} classes, received {received}\nhint: add samples of another class")]
    TooFewClasses {
        /// The least number of classes.
        expected: usize,
        /// The number of classes.
        received: usize,
    },
    /// No sample has this class.
    #[error(
        "labels: expected at least one sample of each class, received none of class {class}\nhint: add samples or leave the class out"
    )]
    EmptyClass {
        /// Index of the class.
        class: usize,
    },
    /// The class of a sample isn't one of the classes.
    #[error("labels, sample {sample}: expected a class below {classes}, received {received}")]
    UnknownClass {
        /// Index of the sample.
        sample: usize,
        /// The number of classes.
        classes: usize,
        /// The class of the sample.
        received: usize,
    },
    /// A feature is NaN or infinite.
    #[error(
        "features: expected finite numbers, received {value} in sample {sample}, column {column}\nhint: leave the sample out, or check the weights of the network"
    )]
    NotFinite {
        /// Index of the sample.
        sample: usize,
        /// Index of the feature.
        column: usize,
        /// The value: NaN or an infinity.
        value: f32,
    },
    /// Two sizes that must be the same differ.
    #[error("{place}: expected {expected}, received {received}")]
    Size {
        /// What has the wrong size.
        place: &'static str,
        /// The expected size.
        expected: usize,
        /// The received size.
        received: usize,
    },
    /// A product of sizes is larger than an address can be.
    #[error("{place}: expected a size that fits in memory, received {rows} x {columns}")]
    Overflow {
        /// What is too large.
        place: &'static str,
        /// The number of rows.
        rows: usize,
        /// The number of columns.
        columns: usize,
    },
    /// A number is outside its range.
    #[error("{place}: expected {expected}, received {received}")]
    Range {
        /// What has the value.
        place: &'static str,
        /// The allowed range in words.
        expected: &'static str,
        /// The received value.
        received: f64,
    },
    /// Labels of one kind where those of the other kind are needed.
    #[error("{place}: expected {expected}")]
    Kind {
        /// What received the labels.
        place: &'static str,
        /// The labels that it needs.
        expected: &'static str,
    },
    /// The eigendecomposition did not converge. This is a bug.
    #[error("eigendecomposition of {side} x {side}: did not converge\nhint: please report this with the features")]
    NoConvergence {
        /// The side of the matrix.
        side: usize,
    },
}

/// `rows * columns`, or an error that names `place`.
pub(crate) fn checked_size(place: &'static str, rows: usize, columns: usize) -> Result<usize> {
    // A sixteenth of the address space leaves room for the f64 arrays derived from it.
    let size = rows.checked_mul(columns).filter(|&size| size <= isize::MAX as usize / 16);
    size.ok_or(LinearError::Overflow { place, rows, columns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_that_overflows_is_an_error() {
        assert_eq!(checked_size("features", 3, 5), Ok(15));
        let error = checked_size("features", usize::MAX / 2, 3).unwrap_err();
        assert!(error.to_string().contains("9223372036854775807 x 3"), "{error}");
        assert!(checked_size("features", isize::MAX as usize / 8, 1).is_err());
    }
}
