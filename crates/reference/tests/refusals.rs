//! Invalid calls of sessions, and their error messages.

mod common;

use common::{BATCH, UPDATE, classes, model, plan, prepare, random, session};
use engraft_ir::Precision;
use engraft_nn::prelude::*;
use engraft_nn::{OptimizerState, Result};
use engraft_plan::{Executor, LabelledBatch, Plan, PlanOptions, SingleReplica};
use engraft_reference::ReferenceExecutor;

#[test]
fn a_step_needs_gradients_and_a_state_of_its_optimizer() {
    let model = model();
    let (mut session, state) = (session(&model), OptimizerState::default());
    assert!(session.apply(UPDATE, &state).unwrap_err().to_string().contains("call forward_backward before it"));
    let (x, y) = (random(&[BATCH, 6, 6, 2], 1), classes(BATCH));
    session.forward_backward(&LabelledBatch::new(&[&x], &y), 0, &mut SingleReplica).unwrap();
    let bias = model.get_layer("top").unwrap().weights()[1].clone();
    let foreign = OptimizerState::new(0, [(bias.id(), vec![vec![0.0; 3]; 2])].into());
    let error = session.apply(UPDATE, &foreign).unwrap_err().to_string();
    assert!(error.contains("expected 1 arrays of 3 numbers, received arrays of [3, 3]"), "{error}");
    session.apply(UPDATE, &state).unwrap();
    assert!(session.apply(UPDATE, &state).is_err(), "gradients are applied once");
}

#[test]
fn a_loss_that_is_not_finite_leaves_nothing_to_apply() {
    let model = model();
    let (mut session, state) = (session(&model), OptimizerState::default());
    let (mut x, y) = (random(&[BATCH, 6, 6, 2], 1), classes(BATCH));
    session.forward_backward(&LabelledBatch::new(&[&x], &y), 0, &mut SingleReplica).unwrap();
    x.data_mut()[0] = f32::NAN;
    let error =
        session.forward_backward(&LabelledBatch::new(&[&x], &y), 0, &mut SingleReplica).unwrap_err().to_string();
    assert!(error.contains("training step 1: the loss is NaN"), "{error}");
    assert!(session.apply(UPDATE, &state).is_err());
}

#[test]
fn calls_that_do_not_fit_are_errors_that_say_what_would() {
    let model = model();
    let mut training = session(&model);
    let (x, y) = (random(&[BATCH, 6, 6, 2], 1), classes(BATCH));
    let text = |result: Result<Vec<Tensor>>| result.unwrap_err().to_string();
    assert!(text(training.predict(&[])).contains("expected 1 tensors, received 0"));
    assert!(text(training.predict(&[&random(&[2, 5, 6, 2], 1)])).contains("expected [2, 6, 6, 2]"));
    assert!(text(training.predict(&[&random(&[5, 6, 6, 2], 1)])).contains("at most 4 samples"));
    let error = training.gradients(&[&x], &[], 0).unwrap_err().to_string();
    assert!(error.contains("gradients: expected a plan of gradients"), "{error}");
    let mut predicting = prepare(Plan::predict(&model, BATCH, &PlanOptions::default()).unwrap());
    let batch = [&x];
    let batch = LabelledBatch::new(&batch, &y);
    assert!(predicting.evaluate(&batch).unwrap_err().to_string().contains("a plan with a loss"));
    assert!(
        predicting
            .forward_backward(&batch, 0, &mut SingleReplica)
            .unwrap_err()
            .to_string()
            .contains("plan of training")
    );
    let weighted = batch.sample_weights(Some(&[1.0]));
    assert!(training.evaluate(&weighted).unwrap_err().to_string().contains("expected 4 numbers, received 1"));
}

#[test]
fn products_of_bf16_are_refused() {
    let plan = plan(&model(), &PlanOptions::default().precision(Precision::Bf16));
    let error = ReferenceExecutor.prepare(plan).err().unwrap().to_string();
    assert!(error.contains("precision: expected f32, received bf16"), "{error}");
}
