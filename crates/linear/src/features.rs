//! [`Features`]: a checked matrix of features.

use rayon::prelude::*;

use crate::error::{LinearError, Result, checked_size};

/// Features of samples, row-major `[samples, dim]`, all finite. Borrows the caller's array.
///
/// ```
/// use engraft_linear::Features;
/// let features = Features::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, 2)?;
/// assert_eq!((features.samples(), features.dim()), (3, 2));
/// assert_eq!(features.row(1), [3.0, 4.0]);
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Features<'a> {
    values: &'a [f32],
    dim: usize,
    samples: usize,
}

impl<'a> Features<'a> {
    /// The matrix `[samples, dim]` in `values`.
    ///
    /// # Errors
    /// The length of `values` isn't `samples * dim`, there are no samples or no features, or a value is NaN or infinite.
    pub fn new(values: &'a [f32], samples: usize, dim: usize) -> Result<Self> {
        let expected = checked_size("features", samples, dim)?;
        if expected == 0 {
            return Err(LinearError::Range {
                place: "features",
                expected: "at least one sample and one feature",
                received: 0.0,
            });
        }
        if values.len() != expected {
            return Err(LinearError::Size { place: "features, values", expected, received: values.len() });
        }
        // `position_first` returns the same value whatever the number of threads.
        if let Some(at) = values.par_iter().with_min_len(1 << 16).position_first(|value| !value.is_finite()) {
            return Err(LinearError::NotFinite { sample: at / dim, column: at % dim, value: values[at] });
        }
        Ok(Self { values, dim, samples })
    }

    /// The number of samples.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The number of features of a sample.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The features of one sample.
    ///
    /// # Panics
    /// `sample` isn't below [`samples`](Self::samples).
    pub fn row(&self, sample: usize) -> &'a [f32] {
        &self.values[sample * self.dim..][..self.dim]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_that_is_not_finite_is_named() {
        let mut values = vec![0.0; 12];
        values[7] = f32::NEG_INFINITY;
        values[11] = f32::NAN;
        let error = Features::new(&values, 4, 3).unwrap_err();
        assert_eq!(error, LinearError::NotFinite { sample: 2, column: 1, value: f32::NEG_INFINITY });
    }

    #[test]
    fn sizes_that_do_not_match_are_refused() {
        assert_eq!(
            Features::new(&[0.0; 5], 2, 3).unwrap_err(),
            LinearError::Size { place: "features, values", expected: 6, received: 5 }
        );
        assert!(matches!(Features::new(&[], 0, 3), Err(LinearError::Range { .. })));
        assert!(matches!(Features::new(&[], 3, 0), Err(LinearError::Range { .. })));
        assert!(matches!(Features::new(&[0.0], usize::MAX, 2), Err(LinearError::Overflow { .. })));
    }
}
