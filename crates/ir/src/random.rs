//! A random generator with a stable sequence: a seed gives the same numbers on every machine and in every version.
//!
//! Initializers, random layers and data splits draw from it.

/// SplitMix64's increment: 2⁶⁴ divided by the golden ratio, an odd number.
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finalizer: each bit of `z` affects about half of the result's bits. Different numbers give different results.
///
/// ```
/// use engraft_ir::random::finalize;
/// assert_eq!(finalize(0), 0);
/// let changed = (finalize(6) ^ finalize(7)).count_ones();
/// assert!((16..48).contains(&changed), "{changed} of 64 bits");
/// ```
pub fn finalize(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Number `index` of the random sequence of `key`, uniform on `0.0..1.0`. It has 24 random bits, which f32 holds exactly.
///
/// Each number is computed from `key` and `index` alone, so numbers can be drawn in any order: SplitMix64's finalizer is applied
/// to `key` plus `index` increments.
///
/// ```
/// use engraft_ir::random::uniform_at;
/// let mean = (0..1000).map(|index| uniform_at(7, index)).sum::<f32>() / 1000.0;
/// assert!((0.45..0.55).contains(&mean), "{mean}");
/// ```
pub fn uniform_at(key: u64, index: u64) -> f32 {
    let bits = finalize(key.wrapping_add(index.wrapping_mul(INCREMENT))) >> 40;
    bits as u32 as f32 / (1u32 << 24) as f32
}

/// Number `index` of the sequence of `key` of standard normal numbers (Box and Muller 1958, doi 10.1214/aoms/1177706645).
///
/// It is computed from the numbers `2 * index` and `2 * index + 1` of [`uniform_at`], so numbers can be drawn in any order.
///
/// ```
/// use engraft_ir::random::normal_at;
/// let squares = (0..1000).map(|index| normal_at(7, index).powi(2)).sum::<f32>();
/// assert!((850.0..1150.0).contains(&squares), "the variance is 1: {squares}");
/// ```
pub fn normal_at(key: u64, index: u64) -> f32 {
    let [radius, angle] = [0, 1].map(|part| f64::from(uniform_at(key, index.wrapping_mul(2).wrapping_add(part))));
    // 1 minus a number below 1 is above 0, where the logarithm is finite.
    ((-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()) as f32
}

/// Mixes two numbers into a seed: each bit of `a` or `b` affects about half of the result's bits.
///
/// ```
/// use engraft_ir::random::mix;
/// assert_ne!(mix(1, 2), mix(2, 1));
/// ```
pub fn mix(a: u64, b: u64) -> u64 {
    finalize(a.wrapping_mul(INCREMENT).wrapping_add(b).wrapping_add(INCREMENT))
}

/// The random generator SplitMix64 (Steele, Lea and Flood 2014, doi 10.1145/2660193.2660195). Any seed is as good as another.
///
/// ```
/// use engraft_ir::random::Rng;
/// let mut rng = Rng::new(7);
/// let x = rng.uniform(-1.0, 1.0);
/// assert!((-1.0..1.0).contains(&x));
/// assert!((0.0..1.0).contains(&rng.unit()) && rng.below(6) < 6);
/// // A copy goes on with the same numbers.
/// assert_eq!(rng.clone().next_u64(), rng.next_u64());
/// ```
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let value = mix(0, self.0);
        self.0 = self.0.wrapping_add(INCREMENT);
        value
    }

    /// A number from the uniform distribution on `0.0..1.0`, with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A number from the uniform distribution on `low..high`.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        let value = (f64::from(low) + self.unit() * (f64::from(high) - f64::from(low))) as f32;
        // Rounding to f32 may give `high`, which the range excludes.
        if value < high || high <= low { value } else { low }
    }

    /// A number from the standard normal distribution (Box and Muller 1958, doi 10.1214/aoms/1177706645).
    ///
    /// ```
    /// use engraft_ir::random::Rng;
    /// let mut rng = Rng::new(7);
    /// let noise: Vec<f32> = (0..1000).map(|_| rng.normal()).collect();
    /// let mean = noise.iter().sum::<f32>() / 1000.0;
    /// assert!(mean.abs() < 0.1, "{mean}");
    /// ```
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * self.unit()).cos()) as f32
    }

    /// An integer from the uniform distribution on `0..bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Shuffles `items` (Fisher and Yates).
    ///
    /// ```
    /// use engraft_ir::random::Rng;
    /// let mut photos: Vec<usize> = (0..100).collect();
    /// Rng::new(42).shuffle(&mut photos);
    /// let (validation, training) = photos.split_at(20);
    /// assert_eq!((training.len(), validation.len()), (80, 20));
    /// assert!(!photos.is_sorted());
    /// ```
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_never_changes() {
        // The first outputs of SplitMix64 from seed 1234567, as its authors' reference prints them.
        let mut rng = Rng::new(1_234_567);
        assert_eq!([rng.next_u64(), rng.next_u64()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    /// The masks of dropout depend on these numbers. The expected values come from an independent implementation in Python.
    #[test]
    fn the_numbers_of_a_key_never_change() {
        let expected = [12_028_831, 8_797_065, 10_132_046].map(|bits: u32| bits as f32 / 16_777_216.0);
        assert_eq!([0, 1, 1_000_000].map(|index| uniform_at(finalize(7), index)), expected);
    }

    /// The split into training and validation set depends on this order. The expected orders come from an independent
    /// implementation in Python.
    #[test]
    fn the_order_of_a_shuffle_never_changes() {
        let shuffled = |seed| {
            let mut items: [usize; 12] = std::array::from_fn(|item| item);
            Rng::new(seed).shuffle(&mut items);
            items
        };
        assert_eq!(shuffled(1), [7, 0, 4, 1, 2, 11, 5, 10, 3, 9, 8, 6]);
        assert_eq!(shuffled(u64::MAX), [4, 9, 0, 8, 1, 6, 7, 5, 3, 2, 11, 10]);
    }

    #[test]
    fn moments_of_both_distributions() {
        let mut rng = Rng::new(3);
        let n = 200_000;
        let (mut sum, mut squares) = (0.0f64, 0.0f64);
        for _ in 0..n {
            let x = f64::from(rng.normal());
            sum += x;
            squares += x * x;
        }
        // The tolerances are five standard errors. Normal: 5 / sqrt(n) for the mean, 5 sqrt(2 / n) for the variance. Uniform on
        // 2..4, of variance 1 / 3: 5 / sqrt(3 n) for the mean.
        assert!((sum / n as f64).abs() < 0.012);
        assert!((squares / n as f64 - 1.0).abs() < 0.016);
        let mean = (0..n).map(|_| f64::from(rng.uniform(2.0, 4.0))).sum::<f64>() / n as f64;
        assert!((mean - 3.0).abs() < 0.007);
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..100).collect();
        Rng::new(1).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
