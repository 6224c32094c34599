//! [`close_pairs`]: pairs of samples whose features have nearly the same direction, without comparing all features of all pairs.

use engraft_ir::random::Rng;
use rayon::prelude::*;

/// Random hyperplanes. Each gives one bit of a signature.
const BITS: usize = 128;

/// The most bits in which the signatures of a close pair differ.
///
/// Two samples at an angle of `a` differ in `BITS * a / pi` bits on average (Charikar 2002, doi 10.1145/509907.509965). Around the
/// mean of all samples, near duplicates of photos are at less than 40 degrees, which is 28 bits with a standard deviation of 5.
const MAX_DIFFERENCE: u32 = 40;

/// The pairs of samples whose features have a cosine of at least `cosine`, as `(earlier, later)` in ascending order of the later one.
///
/// For each sample, at most `most` earlier ones are found, those of the largest cosine. Pairs are compared by signatures of 128 bits
/// first (SimHash), so that a pair at a small cosine *around the mean of all samples* is left out, whatever `cosine` is; and a close
/// pair is missed with a probability that grows with its angle, about 1 in 100 at 40 degrees. The result is the same on each machine.
///
/// The cost is `128 * samples * dim` multiplications, `samples² / 2` comparisons of signatures, and `dim` multiplications for each pair
/// whose signatures are close. For 50,000 samples of 1,500 features, this is about half a minute on one core; all threads share it.
///
/// `rows` are the features of the samples, all of one length.
///
/// ```
/// use engraft_linear::close_pairs;
/// let rows: [&[f32]; 4] = [&[1.0, 0.0, 0.1], &[0.0, 1.0, 0.0], &[0.99, 0.0, 0.1], &[0.0, 0.2, 1.0]];
/// let [(earlier, later, cosine)] = close_pairs(&rows, 0.95, 3)[..] else { panic!("one pair") };
/// assert!((earlier, later) == (0, 2) && cosine > 0.999);
/// ```
pub fn close_pairs(rows: &[&[f32]], cosine: f32, most: usize) -> Vec<(usize, usize, f32)> {
    let signatures = signatures(rows);
    let norms: Vec<f32> = rows.par_iter().map(|row| dot(row, row).sqrt()).collect();
    let of_later = |later: usize| {
        let mut found: Vec<(usize, f32)> = Vec::new();
        for earlier in 0..later {
            if (signatures[earlier] ^ signatures[later]).count_ones() > MAX_DIFFERENCE {
                continue;
            }
            let length = norms[earlier] * norms[later];
            let value = if length > 0.0 { dot(rows[earlier], rows[later]) / length } else { 0.0 };
            if value >= cosine {
                found.push((earlier, value));
            }
            // Sorted now and then only, so that many equal samples cost little memory and time.
            if found.len() >= 16 * most.max(1) {
                keep_closest(&mut found, most);
            }
        }
        keep_closest(&mut found, most);
        found.sort_unstable_by_key(|(earlier, _)| *earlier);
        found.into_iter().map(|(earlier, value)| (earlier, later, value)).collect::<Vec<_>>()
    };
    // Late samples have more earlier ones: small pieces keep all threads busy.
    (0..rows.len()).into_par_iter().with_max_len(64).flat_map_iter(of_later).collect()
}

/// Keeps the `most` pairs of the largest cosine; of equal ones, the first.
fn keep_closest(found: &mut Vec<(usize, f32)>, most: usize) {
    found.sort_by(|(one, of_one), (other, of_other)| of_other.total_cmp(of_one).then(one.cmp(other)));
    found.truncate(most);
}

/// On which side of random hyperplanes through the mean each sample lies.
fn signatures(rows: &[&[f32]]) -> Vec<u128> {
    let dim = rows.first().map_or(0, |row| row.len());
    let mut mean = vec![0.0f64; dim];
    for row in rows {
        mean.iter_mut().zip(*row).for_each(|(mean, value)| *mean += f64::from(*value) / rows.len() as f64);
    }
    // Signs are as good as normally distributed numbers here (Achlioptas 2003, doi 10.1016/S0022-0000(03)00025-4).
    let mut rng = Rng::new(0);
    let planes: Vec<[f32; BITS]> =
        (0..dim).map(|_| std::array::from_fn(|_| if rng.next_u64() >> 63 == 0 { 1.0 } else { -1.0 })).collect();
    let signature = |row: &&[f32]| {
        let mut sums = [0.0f32; BITS];
        for ((value, mean), signs) in row.iter().zip(&mean).zip(&planes) {
            let centered = value - *mean as f32;
            sums.iter_mut().zip(signs).for_each(|(sum, sign)| *sum += centered * sign);
        }
        sums.iter().fold(0, |bits, sum| bits << 1 | u128::from(*sum > 0.0))
    };
    rows.par_iter().map(signature).collect()
}

/// The scalar product, in eight partial sums that the compiler makes vectors of.
fn dot(one: &[f32], other: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let ((one, one_rest), (other, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    for (one, other) in one.iter().zip(other) {
        sums.iter_mut().zip(one.iter().zip(other)).for_each(|(sum, (one, other))| *sum += one * other);
    }
    sums.iter().sum::<f32>() + one_rest.iter().zip(other_rest).map(|(one, other)| one * other).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples at random, not below zero as features after a ReLU; and for each of the first, one that is close to it.
    fn samples(count: usize, copies: usize, dim: usize) -> Vec<Vec<f32>> {
        let mut rng = Rng::new(5);
        let mut rows: Vec<Vec<f32>> = (0..count).map(|_| (0..dim).map(|_| rng.normal().max(0.0)).collect()).collect();
        for original in 0..copies {
            let near = rows[original].iter().map(|value| (value + 0.15 * rng.normal()).max(0.0)).collect();
            rows.push(near);
        }
        rows
    }

    fn close(rows: &[Vec<f32>], cosine: f32, most: usize) -> Vec<(usize, usize)> {
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        close_pairs(&rows, cosine, most).into_iter().map(|(one, other, _)| (one, other)).collect()
    }

    /// Compared with the cosines of all pairs.
    #[test]
    fn close_pairs_are_found_and_no_others() {
        let rows = samples(300, 60, 203);
        let plain = |one: &[f32], other: &[f32]| -> f64 {
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            dot(one, other) / (dot(one, one) * dot(other, other)).sqrt()
        };
        let mut expected = Vec::new();
        for later in 0..rows.len() {
            expected.extend((0..later).filter(|&at| plain(&rows[at], &rows[later]) >= 0.9).map(|at| (at, later)));
        }
        assert_eq!(expected.len(), 60);
        assert_eq!(close(&rows, 0.9, 8), expected);
    }

    #[test]
    fn only_the_closest_of_many_are_kept() {
        let rows = vec![vec![1.0, 2.0, 3.0]; 100];
        let found = close(&rows, 0.9, 2);
        assert_eq!(found.len(), 99 + 98);
        assert_eq!(found[..4], [(0, 1), (0, 2), (1, 2), (0, 3)]);
    }

    #[test]
    fn samples_without_features_are_close_to_none() {
        assert!(close(&[vec![0.0; 9], vec![0.0; 9]], 0.9, 4).is_empty());
        assert!(close(&[], 0.9, 4).is_empty() && close(&[vec![], vec![]], 0.9, 4).is_empty());
    }
}
