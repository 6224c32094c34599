//! [`Normalization`]: the groups of values that a normalization of single samples works on, and how it scales them.

/// What each group of values is divided by, and whether its mean is subtracted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormalizationKind {
    /// `(x - mean) / sqrt(variance + epsilon)` (Ba et al. 2016, arXiv:1607.06450; Wu and He 2018, arXiv:1803.08494).
    Standard,
    /// `x / sqrt(variance + epsilon)`: Keras' `LayerNormalization` with the deprecated option `rms_scaling`.
    Variance,
    /// `x / sqrt(mean(x^2) + epsilon)` (Zhang and Sennrich 2019, arXiv:1910.07467).
    RootMeanSquare,
    /// `x / max(sqrt(sum(x^2)), epsilon)`, so that a group has the Euclidean norm 1.
    Norm,
}

/// A normalization of groups of values within each sample, followed by a scale and an offset.
///
/// A sample is read as `[blocks, rows, groups, width]`. A group holds the `rows * width` values of one block and one index of the
/// third axis. Layer normalization over the last axis has one row and one group; group normalization of an image has a row for
/// each pixel. Scale and offset have one value for each of the `groups * width` columns.
///
/// ```
/// use engraft_ir::{Normalization, NormalizationKind};
/// // 32 groups of 2 channels each, in an image of 7 x 7 pixels.
/// let norm = Normalization {
///     kind: NormalizationKind::Standard,
///     epsilon: 1e-3,
///     rows: 7 * 7,
///     groups: 32,
///     width: 2,
///     scale: true,
///     center: true,
/// };
/// assert_eq!((norm.columns(), norm.group_size()), (64, 98));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// What each group is divided by.
    pub kind: NormalizationKind,
    /// The number that keeps the divisor away from zero; see [`NormalizationKind`].
    pub epsilon: f32,
    /// Rows of a block.
    pub rows: usize,
    /// Groups side by side in a row.
    pub groups: usize,
    /// Values of a group in a row.
    pub width: usize,
    /// Whether the first weight, gamma, scales each column.
    pub scale: bool,
    /// Whether the last weight, beta, is added to each column.
    pub center: bool,
}

impl Normalization {
    /// Length of a row: `groups * width`.
    pub fn columns(&self) -> usize {
        self.groups * self.width
    }

    /// Number of values in a group: `rows * width`.
    pub fn group_size(&self) -> usize {
        self.rows * self.width
    }
}
