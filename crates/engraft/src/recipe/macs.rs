//! [`macs`]: what a network costs.

use crate::plan::Plan;

/// The multiply-accumulates of a sample.
pub(super) fn macs(plan: &Plan) -> f64 {
    let of_step = |step| {
        let work = plan.work(step);
        (work.forward + work.backward) as f64 / 2.0
    };
    (0..plan.program().steps.len()).map(of_step).sum()
}
