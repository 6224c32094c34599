//! Numbers of channels as multiples of 8, which scaled networks round to.

/// The multiple of 8 nearest to `exact`, at least 8.
pub(super) fn nearest(exact: f64) -> usize {
    (((exact + 4.0) / 8.0).floor() * 8.0).max(8.0) as usize
}

/// The multiple of 8 nearest to `exact` that is at least nine tenths of it (Keras' `_make_divisible` and `round_filters`).
pub(super) fn rounded(exact: f64) -> usize {
    let nearest = nearest(exact);
    if (nearest as f64) < 0.9 * exact { nearest + 8 } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_rounded_as_keras_does() {
        let stages = [16.0, 24.0, 40.0, 80.0, 112.0, 192.0, 320.0];
        // Keras' round_filters of EfficientNet-B2 and B4.
        assert_eq!(stages.map(|filters| rounded(filters * 1.1)), [16, 24, 48, 88, 120, 208, 352]);
        assert_eq!(stages.map(|filters| rounded(filters * 1.4)), [24, 32, 56, 112, 160, 272, 448]);
        // Of EfficientNet-B3 and EfficientNetV2-B3, which doesn't keep nine tenths.
        assert_eq!((rounded(16.0 * 1.2), nearest(16.0 * 1.2)), (24, 16));
        assert_eq!((rounded(0.0), nearest(0.0)), (8, 8));
    }
}
