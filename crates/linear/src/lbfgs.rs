//! L-BFGS (Liu and Nocedal 1989, doi 10.1007/BF01589116) with a diagonal start of the inverse Hessian.

use std::collections::VecDeque;

use crate::error::Result;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The largest number of iterations.
    pub(crate) iterations: usize,
    /// Stops where the quadratic model promises to lower the function by less than this.
    pub(crate) tolerance: f64,
}

/// A point with the function's value and gradient there.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) at: Vec<f64>,
    pub(crate) value: f64,
    pub(crate) gradient: Vec<f64>,
}

/// Pairs of steps and changes of the gradient that approximate the Hessian.
const PAIRS: usize = 10;

/// Maximum number of steps tried in one line search.
const TRIALS: usize = 30;

/// Minimizes a smooth convex function from `point` on. `inverse_hessian` is the diagonal of an approximation.
///
/// # Errors
/// Those of `function`, which returns value and gradient.
pub(crate) fn minimize(
    mut point: Point,
    inverse_hessian: &[f64],
    limits: Limits,
    mut function: impl FnMut(&[f64]) -> Result<(f64, Vec<f64>)>,
) -> Result<Point> {
    let mut history = History::default();
    for _ in 0..limits.iterations {
        let direction = history.direction(&point.gradient, inverse_hessian);
        let slope = dot(&point.gradient, &direction);
        // Half the slope is the decrease that the quadratic model promises. It is NaN where the function is.
        let promised = -0.5 * slope;
        if promised.is_nan() || promised <= limits.tolerance {
            break;
        }
        let Some(next) = line_search(&point, &direction, slope, &mut function)? else { break };
        history.push(&point, &next, inverse_hessian);
        point = next;
    }
    Ok(point)
}

/// A step that satisfies the weak Wolfe conditions, by bisection; `None` where rounding hides the decrease.
fn line_search(
    start: &Point,
    direction: &[f64],
    slope: f64,
    function: &mut impl FnMut(&[f64]) -> Result<(f64, Vec<f64>)>,
) -> Result<Option<Point>> {
    let (mut low, mut high, mut step) = (0.0, f64::INFINITY, 1.0);
    let mut best = None;
    for _ in 0..TRIALS {
        let at: Vec<f64> = start.at.iter().zip(direction).map(|(x, d)| x + step * d).collect();
        let (value, gradient) = function(&at)?;
        if value.is_nan() || value > start.value + 1e-4 * step * slope {
            high = step;
        } else if dot(&gradient, direction) < 0.9 * slope {
            low = step;
            best = Some(Point { at, value, gradient });
        } else {
            return Ok(Some(Point { at, value, gradient }));
        }
        step = if high.is_finite() { 0.5 * (low + high) } else { 2.0 * low };
    }
    Ok(best)
}

/// A step, the change of the gradient along it, and the inverse of their product.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    rho: f64,
}

#[derive(Default)]
struct History {
    pairs: VecDeque<Pair>,
    /// Scale of the diagonal that suits the latest pair.
    scale: Option<f64>,
}

impl History {
    fn push(&mut self, from: &Point, to: &Point, inverse_hessian: &[f64]) {
        let step: Vec<f64> = to.at.iter().zip(&from.at).map(|(to, from)| to - from).collect();
        let change: Vec<f64> = to.gradient.iter().zip(&from.gradient).map(|(to, from)| to - from).collect();
        let product = dot(&step, &change);
        let preconditioned: f64 = change.iter().zip(inverse_hessian).map(|(y, h)| y * y * h).sum();
        if !(product > f64::EPSILON * preconditioned && preconditioned > 0.0) {
            return;
        }
        self.scale = Some(product / preconditioned);
        if self.pairs.len() == PAIRS {
            self.pairs.pop_front();
        }
        self.pairs.push_back(Pair { step, change, rho: product.recip() });
    }

    /// The two-loop recursion: minus the approximate inverse Hessian times the gradient.
    fn direction(&self, gradient: &[f64], inverse_hessian: &[f64]) -> Vec<f64> {
        let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut alphas = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let alpha = pair.rho * dot(&pair.step, &direction);
            add(&mut direction, -alpha, &pair.change);
            alphas.push(alpha);
        }
        let scale = self.scale.unwrap_or(1.0);
        direction.iter_mut().zip(inverse_hessian).for_each(|(d, h)| *d *= scale * h);
        for (pair, alpha) in self.pairs.iter().zip(alphas.into_iter().rev()) {
            let beta = pair.rho * dot(&pair.change, &direction);
            add(&mut direction, alpha - beta, &pair.step);
        }
        direction
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(sum: &mut [f64], factor: f64, terms: &[f64]) {
    sum.iter_mut().zip(terms).for_each(|(sum, term)| *sum += factor * term);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::LinearError;
    use crate::testing::same;

    type Function = fn(&[f64]) -> (f64, Vec<f64>);

    fn run(function: Function, start: &[f64], limits: Limits) -> Point {
        let (value, gradient) = function(start);
        let start = Point { at: start.to_vec(), value, gradient };
        minimize(start, &[1.0; 2], limits, |at| Ok(function(at))).unwrap()
    }

    /// Rosenbrock's valley (1960), with its minimum at (1, 1).
    fn rosenbrock(x: &[f64]) -> (f64, Vec<f64>) {
        let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
        (a * a + 100.0 * b * b, vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b])
    }

    #[test]
    fn the_minimum_of_a_curved_valley_is_found() {
        let limits = Limits { iterations: 200, tolerance: 1e-20 };
        let minimum = run(rosenbrock, &[-1.2, 1.0], limits);
        same(&minimum.at, &[1.0, 1.0], 1e-8);
        let first = run(rosenbrock, &[-1.2, 1.0], Limits { iterations: 1, ..limits });
        assert!(first.value < rosenbrock(&[-1.2, 1.0]).0 && first.value > 0.1);
    }

    #[test]
    fn a_flat_function_and_a_minimum_end_the_search() {
        let limits = Limits { iterations: 100, tolerance: 0.0 };
        assert_eq!(run(|_| (3.0, vec![0.0, 0.0]), &[4.0, 5.0], limits).at, [4.0, 5.0]);
        assert_eq!(run(rosenbrock, &[1.0, 1.0], limits).at, [1.0, 1.0]);
        assert_eq!(run(|_| (f64::NAN, vec![f64::NAN, 0.0]), &[4.0, 5.0], limits).at, [4.0, 5.0]);
    }

    #[test]
    fn an_exact_diagonal_needs_one_step() {
        let quadratic = |x: &[f64]| (0.5 * (9.0 * x[0] * x[0] + 1e4 * x[1] * x[1]), vec![9.0 * x[0], 1e4 * x[1]]);
        let start = [3.0, -2.0];
        let (value, gradient) = quadratic(&start);
        let mut calls = 0;
        let found = minimize(
            Point { at: start.to_vec(), value, gradient },
            &[1.0 / 9.0, 1e-4],
            Limits { iterations: 100, tolerance: 1e-12 },
            |at| {
                calls += 1;
                Ok(quadratic(at))
            },
        );
        same(&found.unwrap().at, &[0.0, 0.0], 1e-300);
        assert_eq!(calls, 1);
    }

    #[test]
    fn an_error_of_the_function_ends_the_search() {
        let start = Point { at: vec![1.0], value: 1.0, gradient: vec![1.0] };
        let limits = Limits { iterations: 5, tolerance: 0.0 };
        assert_eq!(minimize(start, &[1.0], limits, |_| Err(LinearError::Stopped)).unwrap_err(), LinearError::Stopped);
    }
}
