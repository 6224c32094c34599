//! Helpers of this crate's tests: random data and comparisons.

use engraft_ir::random::Rng;

/// `count` numbers from the standard normal distribution.
pub(crate) fn normals(seed: u64, count: usize) -> Vec<f64> {
    let mut rng = Rng::new(seed);
    (0..count).map(|_| f64::from(rng.normal())).collect()
}

/// Gaussian classes: features `[samples, dim]`, and classes that take turns. The centre of class `c` is at `distance` on axis `c`.
pub(crate) fn gaussians(
    seed: u64,
    samples: usize,
    dim: usize,
    classes: usize,
    distance: f32,
) -> (Vec<f32>, Vec<usize>) {
    let mut rng = Rng::new(seed);
    let class_of_sample: Vec<usize> = (0..samples).map(|sample| sample % classes).collect();
    let centre = |class: usize, column: usize| if class % dim == column { distance } else { 0.0 };
    let value = |at: usize| rng.normal() + centre(class_of_sample[at / dim], at % dim);
    ((0..samples * dim).map(value).collect(), class_of_sample)
}

/// Asserts that two arrays differ by at most `tolerance` of the largest expected magnitude.
#[track_caller]
pub(crate) fn same(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f64, |largest, x| largest.max(x.abs())).max(1e-300);
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance * largest, "at {at}: found {found}, expected {expected}");
    }
}

/// The result of `work` in a pool of so many threads.
pub(crate) fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}
