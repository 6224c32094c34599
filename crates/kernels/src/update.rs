//! Optimizer steps of one variable, in place, as Keras 3 computes them, and the gradients of L1 and L2 regularizers.
//!
//! Updates run on the calling thread. Callers cut large variables into blocks and update each while its gradient is in the cache.
//!
//! Hyperparameters are f64, as in Python: Keras computes `1 - beta` in double precision before it rounds to f32. In f32, `1 -
//! 0.999` has a relative error of 1e-5.

use rayon::prelude::*;

use crate::chunks::{CHUNK, check_len};
use crate::simd::Isa;

/// One step of stochastic gradient descent (`keras.optimizers.SGD`).
///
/// - Without a momentum slot: `var -= learning_rate * grad`.
/// - With one: `slot = momentum * slot - learning_rate * grad`, then `var += slot`.
/// - With Nesterov momentum: the same slot, then `var += momentum * slot - learning_rate * grad`.
///
/// ```
/// use engraft_kernels::sgd;
/// let (mut var, mut velocity) = ([1.0], [0.0]);
/// sgd(&mut var, &[2.0], Some(&mut velocity), 0.25, 0.5, false);
/// sgd(&mut var, &[2.0], Some(&mut velocity), 0.25, 0.5, false);
/// assert_eq!((velocity, var), ([-0.75], [-0.25]));
/// ```
pub fn sgd(
    var: &mut [f32],
    grad: &[f32],
    momentum_slot: Option<&mut [f32]>,
    learning_rate: f64,
    momentum: f64,
    nesterov: bool,
) {
    check_len("grad", grad, var.len());
    let (learning_rate, momentum) = (learning_rate as f32, momentum as f32);
    let Some(slot) = momentum_slot else {
        return Isa::current().run_plain(
            #[inline(always)]
            || var.iter_mut().zip(grad).for_each(|(var, grad)| *var -= grad * learning_rate),
        );
    };
    check_len("momentum_slot", slot, var.len());
    Isa::current().run_plain(
        #[inline(always)]
        || {
            for ((var, grad), slot) in var.iter_mut().zip(grad).zip(slot) {
                *slot = *slot * momentum - grad * learning_rate;
                *var += if nesterov { *slot * momentum - grad * learning_rate } else { *slot };
            }
        },
    );
}

/// One step of Adam (Kingma and Ba 2015, arXiv 1412.6980; `keras.optimizers.Adam`).
///
/// ```
/// use engraft_kernels::AdamStep;
/// let step = AdamStep { learning_rate: 0.1, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, step: 1 };
/// let (mut var, mut m, mut v) = ([1.0], [0.0], [0.0]);
/// step.apply(&mut var, &[42.0], &mut m, &mut v);
/// assert!((var[0] - 0.9f32).abs() < 1e-4, "the first step is one learning rate long, whatever the gradient");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub learning_rate: f64,
    /// Decay rate of the first moment.
    pub beta_1: f64,
    /// Decay rate of the second moment.
    pub beta_2: f64,
    /// Added to the square root of the second moment, before the bias correction.
    pub epsilon: f64,
    /// Number of this step, counted from 1, for the bias correction.
    pub step: u64,
}

impl AdamStep {
    /// Updates `var`, the first moment `m` and the second moment `v`.
    ///
    /// # Panics
    /// `step` is 0, or the lengths differ.
    pub fn apply(&self, var: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32]) {
        assert!(self.step > 0, "Adam counts its steps from 1");
        check_len("grad", grad, var.len());
        check_len("m", m, var.len());
        check_len("v", v, var.len());
        let power = |beta: f64| (beta as f32).powf(self.step as f32);
        let alpha = self.learning_rate as f32 * (1.0 - power(self.beta_2)).sqrt() / (1.0 - power(self.beta_1));
        let (rise_1, rise_2) = ((1.0 - self.beta_1) as f32, (1.0 - self.beta_2) as f32);
        let epsilon = self.epsilon as f32;
        Isa::current().run_plain(
            #[inline(always)]
            || {
                for (((var, grad), m), v) in var.iter_mut().zip(grad).zip(m).zip(v) {
                    *m += (grad - *m) * rise_1;
                    *v += (grad * grad - *v) * rise_2;
                    *var -= *m * alpha / (v.sqrt() + epsilon);
                }
            },
        );
    }
}

/// One step of RMSprop (`keras.optimizers.RMSprop`).
///
/// ```
/// use engraft_kernels::RmspropStep;
/// let step = RmspropStep { learning_rate: 0.1, rho: 0.75, momentum: 0.0, epsilon: 0.0, centered: false };
/// let (mut var, mut velocity) = ([1.0], [0.0]);
/// step.apply(&mut var, &[4.0], &mut velocity, None, None);
/// assert_eq!(velocity, [0.25 * 16.0]);
/// assert!((var[0] - (1.0 - 0.1 * 4.0 / 2.0f32)).abs() < 1e-6);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmspropStep {
    /// Learning rate.
    pub learning_rate: f64,
    /// Decay rate of the mean of squared gradients.
    pub rho: f64,
    /// Decay rate of the momentum slot, if one is given.
    pub momentum: f64,
    /// Added under the square root: to the mean of squared gradients or, if `centered`, to the variance.
    pub epsilon: f64,
    /// Whether gradients are divided by their standard deviation instead of their root mean square. Needs an average gradient.
    pub centered: bool,
}

impl RmspropStep {
    /// Updates `var` and its slots. `average_gradient` must be `Some` if `centered` is true, and `None` if not.
    ///
    /// # Panics
    /// `average_gradient` and `centered` disagree, or the lengths differ.
    pub fn apply(
        &self,
        var: &mut [f32],
        grad: &[f32],
        velocity: &mut [f32],
        momentum_slot: Option<&mut [f32]>,
        average_gradient: Option<&mut [f32]>,
    ) {
        check_len("grad", grad, var.len());
        check_len("velocity", velocity, var.len());
        assert!(self.centered == average_gradient.is_some(), "centered RMSprop, and only it, needs `average_gradient`");
        if let Some(slot) = &momentum_slot {
            check_len("momentum_slot", slot, var.len());
        }
        if let Some(average) = &average_gradient {
            check_len("average_gradient", average, var.len());
        }
        Isa::current().run_plain(
            #[inline(always)]
            || self.update(var, grad, velocity, momentum_slot, average_gradient),
        );
    }

    #[inline(always)]
    fn update(
        &self,
        var: &mut [f32],
        grad: &[f32],
        velocity: &mut [f32],
        mut momentum_slot: Option<&mut [f32]>,
        mut average_gradient: Option<&mut [f32]>,
    ) {
        let (rho, rise, epsilon) = (self.rho as f32, (1.0 - self.rho) as f32, self.epsilon as f32);
        let (learning_rate, momentum) = (self.learning_rate as f32, self.momentum as f32);
        for (i, ((var, grad), velocity)) in var.iter_mut().zip(grad).zip(velocity).enumerate() {
            *velocity = rho * *velocity + rise * (grad * grad);
            let mut denominator = *velocity;
            if let Some(average) = &mut average_gradient {
                average[i] = rho * average[i] + rise * grad;
                denominator -= average[i] * average[i];
            }
            let mut step = learning_rate * grad / (denominator + epsilon).sqrt();
            if let Some(slot) = &mut momentum_slot {
                slot[i] = momentum * slot[i] + step;
                step = slot[i];
            }
            *var -= step;
        }
    }
}

/// Decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101): `var *= factor`.
///
/// Keras' AdamW uses `factor = 1 - weight_decay * learning_rate`.
///
/// ```
/// let mut var = [8.0];
/// engraft_kernels::decay(&mut var, 0.75);
/// assert_eq!(var, [6.0]);
/// ```
pub fn decay(var: &mut [f32], factor: f32) {
    Isa::current().run_plain(
        #[inline(always)]
        || var.iter_mut().for_each(|var| *var *= factor),
    );
}

/// Adds the gradient of [`l1_l2_penalty`] to `grad`: `grad += l1 * sign(var) + 2 * l2 * var`.
///
/// ```
/// use engraft_kernels::{l1_l2_gradient, l1_l2_penalty};
/// let (var, mut grad) = ([-3.0], [1.0]);
/// assert_eq!(l1_l2_penalty(&var, 0.5, 0.25), 0.5 * 3.0 + 0.25 * 9.0);
/// l1_l2_gradient(&var, 0.5, 0.25, &mut grad);
/// assert_eq!(grad, [1.0 - 0.5 - 2.0 * 0.25 * 3.0]);
/// ```
pub fn l1_l2_gradient(var: &[f32], l1: f32, l2: f32, grad: &mut [f32]) {
    check_len("grad", grad, var.len());
    Isa::current().run_plain(
        #[inline(always)]
        || {
            for (grad, &var) in grad.iter_mut().zip(var) {
                // TensorFlow's sign of zero is zero; `f32::signum` gives one.
                let sign = if var == 0.0 { 0.0 } else { var.signum() };
                *grad += l1 * sign + 2.0 * l2 * var;
            }
        },
    );
}

/// Penalty of an L1 and L2 regularizer (`keras.regularizers.L1L2`): `l1 * sum(|var|) + l2 * sum(var^2)`, summed in f64.
pub fn l1_l2_penalty(var: &[f32], l1: f32, l2: f32) -> f64 {
    let (l1, l2) = (f64::from(l1), f64::from(l2));
    let penalty = |var: &f32| l1 * f64::from(var.abs()) + l2 * f64::from(*var) * f64::from(*var);
    let partials: Vec<f64> = var.par_chunks(CHUNK).map(|var| var.iter().map(penalty).sum()).collect();
    partials.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, uniform};

    /// Three updates of one variable with growing gradients. The expected values come from the same updates in Keras.
    fn three_updates(mut update: impl FnMut(u64, &mut [f32], &[f32])) -> [f32; 3] {
        let mut var = [1.0, -2.0, 0.5];
        for step in 1..=3 {
            update(step, &mut var, &[0.1, -0.3, 2.0].map(|grad: f32| grad * step as f32));
        }
        var
    }

    /// Tolerance of [`assert_close`]: a few roundings of values near 1.
    const TOLERANCE: f32 = 3e-7;

    #[test]
    fn sgd_is_that_of_keras() {
        let plain = three_updates(|_, var, grad| sgd(var, grad, None, 0.1, 0.0, false));
        assert_close(&plain, &[0.94000006, -1.82, -0.70000005], TOLERANCE);
        for (nesterov, expected) in [(false, [0.9049, -1.7147, -1.402]), (true, [0.85441, -1.5632299, -2.4118])] {
            let mut slot = [0.0; 3];
            let var = three_updates(|_, var, grad| sgd(var, grad, Some(&mut slot), 0.1, 0.9, nesterov));
            assert_close(&var, &expected, TOLERANCE);
        }
    }

    fn adam(learning_rate: f64, step: u64) -> AdamStep {
        AdamStep { learning_rate, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, step }
    }

    #[test]
    fn adam_is_that_of_keras() {
        let (mut m, mut v) = ([0.0; 3], [0.0; 3]);
        let var = three_updates(|step, var, grad| adam(0.01, step).apply(var, grad, &mut m, &mut v));
        assert_close(&var, &[0.97076887, -1.9707686, 0.47076836], TOLERANCE);
    }

    #[test]
    fn every_value_is_updated_by_itself() {
        let (whole, grad) = (uniform(1000, 1), uniform(1000, 2));
        let update = |length: usize| {
            let (mut var, mut m, mut v) = (whole.clone(), vec![0.0; 1000], vec![0.0; 1000]);
            let slots = m.chunks_mut(length).zip(v.chunks_mut(length));
            for ((var, grad), (m, v)) in var.chunks_mut(length).zip(grad.chunks(length)).zip(slots) {
                adam(0.01, 1).apply(var, grad, m, v);
            }
            [var, m, v].concat()
        };
        assert_eq!(update(7), update(1000));
    }

    #[test]
    fn rmsprop_is_that_of_keras() {
        let step =
            |momentum, centered| RmspropStep { learning_rate: 0.01, rho: 0.9, momentum, epsilon: 1e-7, centered };
        let (mut velocity, mut slot, mut average) = ([0.0; 3], [0.0; 3], [0.0; 3]);
        let plain = three_updates(|_, var, grad| step(0.0, false).apply(var, grad, &mut velocity, None, None));
        assert_close(&plain, &[0.9139014, -1.9138997, 0.41389942], TOLERANCE);
        velocity = [0.0; 3];
        let with_momentum =
            three_updates(|_, var, grad| step(0.9, false).apply(var, grad, &mut velocity, Some(&mut slot), None));
        assert_close(&with_momentum, &[0.8341151, -1.8341106, 0.3341102], TOLERANCE);
        (velocity, slot) = ([0.0; 3], [0.0; 3]);
        let centered = three_updates(|_, var, grad| {
            step(0.5, true).apply(var, grad, &mut velocity, Some(&mut slot), Some(&mut average));
        });
        // The tolerance is higher, as centered RMSprop computes the variance as a difference of two close numbers.
        assert_close(&centered, &[0.86496913, -1.8649654, 0.36496508], 2e-6);
    }

    #[test]
    fn decay_and_regularization() {
        let mut var = [1.0, -2.0, 0.0];
        let mut grad = [0.5; 3];
        l1_l2_gradient(&var, 0.1, 0.25, &mut grad);
        assert_eq!(grad, [1.1, -0.6, 0.5]);
        assert!((l1_l2_penalty(&var, 0.1, 0.25) - 1.55).abs() < 1e-8, "0.1 is rounded to f32");
        decay(&mut var, 0.5);
        assert_eq!(var, [0.5, -1.0, 0.0]);
    }
}
