//! Test utilities: pseudorandom numbers, comparisons with tolerances, numeric gradients, and a check of thread independence.

use crate::Threads;

/// Random whole numbers in -4..=4. Sums of their products are exact in f32 in any order, so results can be compared for equality.
pub(crate) fn integers(len: usize, seed: u64) -> Vec<f32> {
    random(len, seed).map(|bits| (bits % 9) as f32 - 4.0).collect()
}

/// Random numbers, uniform in -1..1.
pub(crate) fn uniform(len: usize, seed: u64) -> Vec<f32> {
    random(len, seed).map(|bits| (bits >> 8) as f32 / (1u32 << 23) as f32 - 1.0).collect()
}

/// The upper halves of the states of a linear congruential generator (Knuth's MMIX constants).
fn random(len: usize, seed: u64) -> impl Iterator<Item = u32> {
    let next =
        |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    std::iter::successors(Some(seed), next).skip(3).take(len).map(|state| (state >> 32) as u32)
}

pub(crate) fn to_f32(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&x| x as f32).collect()
}

/// Asserts that every value differs from the expected one by at most `tolerance * max(1, |expected|)`.
#[track_caller]
pub(crate) fn assert_close(received: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(received.len(), expected.len());
    for (i, (&received, &expected)) in received.iter().zip(expected).enumerate() {
        let allowed = tolerance * expected.abs().max(1.0);
        assert!((received - expected).abs() <= allowed, "value {i}: expected {expected}, received {received}");
    }
}

/// The gradient of `f` at `x` by central differences in f64, accurate to about 1e-9 if `f` is smooth.
pub(crate) fn numeric_gradient(x: &[f32], f: impl Fn(&[f64]) -> f64) -> Vec<f32> {
    let step = 1e-5;
    let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
    let at = |i: usize, step: f64| {
        let mut x = x.clone();
        x[i] += step;
        f(&x)
    };
    (0..x.len()).map(|i| ((at(i, step) - at(i, -step)) / (2.0 * step)) as f32).collect()
}

pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Asserts that `compute` gives the same bits with 1, 2 and 3 threads.
#[track_caller]
pub(crate) fn assert_same_for_any_threads(compute: impl Fn() -> Vec<f32> + Sync) {
    let bits = |count| -> Vec<u32> {
        let result = Threads::new(Some(count)).unwrap().run(&compute);
        result.into_iter().map(f32::to_bits).collect()
    };
    let one = bits(1);
    assert!(!one.is_empty());
    assert!(bits(2) == one && bits(3) == one, "results depend on the number of threads");
}
