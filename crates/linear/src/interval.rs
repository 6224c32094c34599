//! Confidence intervals of a share.

/// The 95 % score interval of a share of `samples` independent samples (Wilson 1927, doi 10.1080/01621459.1927.10502953).
///
/// It stays between 0 and 1 and has a width even where all answers are right. Without samples it is (0, 1).
///
/// ```
/// let (low, high) = engraft_linear::interval::wilson(1.0, 20);
/// assert!((low - 0.839).abs() < 1e-3 && high == 1.0);
/// ```
pub fn wilson(share: f64, samples: usize) -> (f64, f64) {
    if samples == 0 {
        return (0.0, 1.0);
    }
    let n = samples as f64;
    let square = Z * Z;
    let centre = (share + square / (2.0 * n)) / (1.0 + square / n);
    let radius = Z / (1.0 + square / n) * (share * (1.0 - share) / n + square / (4.0 * n * n)).sqrt();
    ((centre - radius).clamp(0.0, share), (centre + radius).clamp(share, 1.0))
}

/// The 97.5 % quantile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_published_tables() {
        // Newcombe 1998, table I, method 3.
        for (right, samples, low, high) in
            [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
        {
            let found = wilson(f64::from(right) / f64::from(samples), samples as usize);
            assert!((found.0 - low).abs() < 5e-5 && (found.1 - high).abs() < 5e-5, "{right} of {samples}: {found:?}");
        }
        assert_eq!(wilson(0.0, 0), (0.0, 1.0));
    }
}
