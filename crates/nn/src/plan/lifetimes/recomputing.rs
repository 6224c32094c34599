//! Values that are not kept for the backward pass: they are recomputed right before it needs them first (Chen et al. 2016,
//! "Training Deep Nets with Sublinear Memory Cost").
//!
//! Running a step again reads its inputs at that time. They must be there anyway, or be recomputed as well: no value is kept
//! longer than it would be, and no step runs more than twice.

use std::collections::HashMap;

use super::{Family, Lifetime, Lifetimes, Tenant};
use crate::plan::Step;

/// The most steps that run again for one value. All that they make may live at once: along the sums of a residual network, a
/// longer chain would bring back together what was given up one by one.
const LONGEST_CHAIN: usize = 4;

/// How a value can be had in the backward pass, where nothing is kept for it alone.
#[derive(Clone, Copy)]
struct Source {
    /// The last time.
    until: usize,
    /// How many steps run again for it; none if it is kept.
    steps: usize,
}

impl Lifetimes<'_> {
    /// The same lifetimes, but what is cheap to compute is recomputed for the backward pass.
    pub(in crate::plan) fn recomputing(self) -> Self {
        let recomputable = self.recomputable();
        let mut second_lives = vec![None; self.families.len()];
        let mut needed: Vec<_> = (0..self.families.len()).map(|value| self.needed_backward(value)).collect();
        for (_, step) in self.making().rev() {
            let Some(life) = needed[step.output].clone().filter(|_| recomputable[step.output]) else { continue };
            for &input in &step.inputs {
                let needed = &mut needed[self.roots[input]];
                let (from, to) = needed.clone().map_or((usize::MAX, 0), |needed| needed.into_inner());
                *needed = Some(from.min(*life.start())..=to.max(*life.start()));
            }
            second_lives[step.output] = Some(life);
        }
        Self { second_lives, ..self }
    }

    /// Every recomputed value from when it is made again to when the backward pass needs it last.
    pub(in crate::plan) fn recomputed(&self, batch: usize) -> impl Iterator<Item = Lifetime> {
        let lives = self.second_lives.iter().enumerate().filter_map(|(value, life)| Some((value, life.as_ref()?)));
        lives.map(move |(value, life)| {
            let length = batch * self.program.size(value);
            Lifetime { tenant: Tenant::Recomputed(value), length, from: *life.start(), to: *life.end() }
        })
    }

    /// The steps that run again right before the backward pass of a step, in order, where there are any.
    pub(in crate::plan) fn running_again(&self) -> HashMap<usize, Vec<usize>> {
        let mut running: HashMap<usize, Vec<usize>> = HashMap::new();
        for (index, step) in self.making() {
            if let Some(life) = &self.second_lives[step.output] {
                let before = 2 * self.program.steps.len() - life.start();
                running.entry(before).or_default().push(index);
            }
        }
        running
    }

    /// By root, whether it can be recomputed where the backward pass needs it.
    fn recomputable(&self) -> Vec<bool> {
        let mut recomputable = vec![false; self.families.len()];
        // Inputs are the caller's, who keeps them.
        let mut sources = vec![Source { until: usize::MAX, steps: 0 }; self.families.len()];
        for (index, step) in self.making() {
            let family: &Family = &self.families[step.output];
            let inputs = step.inputs.iter().map(|&input| sources[self.roots[input]]);
            let again = inputs.fold(Source { until: usize::MAX, steps: 1 }, |all, input| Source {
                until: all.until.min(input.until),
                steps: all.steps + input.steps,
            });
            let needed = self.needed_backward(step.output);
            recomputable[step.output] = index >= self.prefix
                && step.op.is_cheap()
                && !family.is_output
                && again.steps <= LONGEST_CHAIN
                && needed.as_ref().is_none_or(|needed| *needed.start() <= again.until);
            // Where a gradient takes the place of a value, it does so in the backward pass of the only step that reads the value:
            // what that step makes has been recomputed by then. What the backward pass doesn't need itself may still be
            // recomputed on the way to something that it needs.
            let or_never = if recomputable[step.output] { again.until } else { 0 };
            sources[step.output] = Source {
                until: needed.map_or(or_never, |needed| *needed.end()),
                steps: if recomputable[step.output] { again.steps } else { 0 },
            };
        }
        recomputable
    }

    /// Every step that makes a value, by index: not those that only give one another shape.
    fn making(&self) -> impl DoubleEndedIterator<Item = (usize, &Step)> {
        let steps = self.program.steps.iter().enumerate();
        steps.filter(|(_, step)| self.roots[step.output] == step.output)
    }
}

#[cfg(test)]
mod tests {
    use super::{Lifetimes, Tenant};
    use crate::plan::Program;
    use crate::prelude::*;

    /// From when to when each value lives, and lives again, as a thrifty training plan has it.
    fn lives(model: &Model) -> Vec<(Tenant, usize, usize)> {
        let program = Program::of(model, true, 0).unwrap();
        let differentiated = program.differentiated(false);
        let prefix = program.prefix(&differentiated);
        let bands = vec![None; program.steps.len()];
        let lifetimes = Lifetimes::new(&program, &differentiated, prefix).recomputing();
        let all = lifetimes.values(&bands, 1, 1).into_iter().chain(lifetimes.recomputed(1));
        all.map(|life| (life.tenant, life.from, life.to)).collect()
    }

    #[test]
    fn a_chain_is_recomputed_from_what_is_kept() {
        let x = Input::new([8, 8, 2]);
        let y = Conv2D::new(2, 1).call(&x).unwrap();
        let y = BatchNormalization::new().call(&y).unwrap();
        let y = Activation::new(Relu).call(&y).unwrap();
        let model = Model::new(&x, &Conv2D::new(2, 1).call(&y).unwrap()).unwrap();
        // Forward at 1 to 4, back at 5 to 8. The normalisation reads the first convolution's values at 7; its own are read by
        // nothing but the ReLU, which runs again at 5 for the second convolution and reads its result once more at 6.
        let kept =
            [(Tenant::Value(1), 1, 7), (Tenant::Value(2), 2, 3), (Tenant::Value(3), 3, 4), (Tenant::Value(4), 4, 9)];
        let again = [(Tenant::Recomputed(2), 5, 5), (Tenant::Recomputed(3), 5, 6)];
        assert_eq!(lives(&model), [&kept[..], &again].concat());
    }

    #[test]
    fn what_would_need_another_value_kept_is_kept_itself() {
        let x = Input::new([8, 8, 2]);
        // Nothing reads what stands before this ReLU once it has run.
        let y = Activation::new(Relu).call(&Conv2D::new(2, 1).call(&x).unwrap()).unwrap();
        let model = Model::new(&x, &Conv2D::new(2, 1).call(&y).unwrap()).unwrap();
        assert!(lives(&model).iter().all(|(tenant, ..)| matches!(tenant, Tenant::Value(_))));
    }

    #[test]
    fn along_sums_some_are_kept() {
        let x = Input::new([8, 8, 2]);
        let mut y = Conv2D::new(2, 1).call(&x).unwrap();
        for _ in 0..6 {
            let branch = BatchNormalization::new().call(&Conv2D::new(2, 1).call(&y).unwrap()).unwrap();
            y = Add::new().call([&y, &branch]).unwrap();
        }
        let model = Model::new(&x, &Conv2D::new(2, 1).call(&y).unwrap()).unwrap();
        // Two steps run again for a sum of a value that is kept, four for the next; for the third it would be six. Every branch
        // reads the sum before it backward, and makes three values.
        let lives = lives(&model);
        let recomputed = |sum: usize| lives.iter().any(|(tenant, ..)| *tenant == Tenant::Recomputed(1 + 3 * sum));
        assert_eq!([1, 2, 3, 4, 5, 6].map(recomputed), [true, true, false, true, true, false]);
    }
}
