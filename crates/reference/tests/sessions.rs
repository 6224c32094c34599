//! When sessions read from the model and write back to it, and that results don't depend on the plan's options.

mod common;

use common::{BATCH, UPDATE, classes, model, plan, prepare, random, session, step, values};
use engraft_nn::prelude::*;
use engraft_nn::{ErrorKind, OptimizerState};
use engraft_plan::{GradientRequest, LabelledBatch, Plan, PlanOptions, RowStreaming, SingleReplica};

#[test]
fn changes_are_written_back_when_the_session_is_synchronized() {
    let model = model();
    let (mut session, state) = (session(&model), OptimizerState::default());
    let before = values(&model);
    let first = step(&mut *session, 1, 0, &state);
    assert!(values(&model) == before && state.slots().is_empty(), "nothing is written back yet");
    assert!(step(&mut *session, 1, 1, &state) != first, "the second step starts where the first one ended");
    session.synchronize(&state).unwrap();
    let moved = values(&model).iter().zip(&before).all(|(after, before)| after != before);
    assert!(moved, "all weights and moving statistics are written back");
    assert_eq!(state.slots().len(), model.trainable_weights().len());
    let (after, version) = (values(&model), state.version());
    session.synchronize(&state).unwrap();
    assert!(values(&model) == after && state.version() == version, "there was nothing more to write back");
}

#[test]
fn two_steps_are_the_same_with_and_without_a_synchronization_in_between() {
    let train = |synchronized: bool| {
        let model = model();
        let (mut session, state) = (session(&model), OptimizerState::default());
        for iteration in 0..2 {
            step(&mut *session, iteration, iteration, &state);
            if synchronized {
                session.synchronize(&state).unwrap();
                // A new session starts from the written weights.
                session = prepare(session.plan().clone());
            }
        }
        session.synchronize(&state).unwrap();
        values(&model)
    };
    for (a, b) in train(true).iter().flatten().zip(train(false).iter().flatten()) {
        // The tolerance allows for rounding: each synchronization rounds the weights to f32.
        assert!((a - b).abs() <= 1e-6 * a.abs().max(1.0), "{a} and {b}");
    }
}

#[test]
fn a_change_in_the_model_is_seen_by_the_next_call() {
    let model = model();
    let (mut session, state) = (session(&model), OptimizerState::default());
    step(&mut *session, 1, 0, &state);
    let kernel = model.get_layer("top").unwrap().weights()[0].clone();
    kernel.set(vec![0.0; kernel.count()]).unwrap();
    let (x, y) = (random(&[BATCH, 6, 6, 2], 1), classes(BATCH));
    let output = session.evaluate(&LabelledBatch::new(&[&x], &y)).unwrap().output;
    assert!((1..BATCH).all(|sample| output.row(sample) == output.row(0)), "only the bias is left");
    session.synchronize(&state).unwrap();
    assert!(kernel.values().iter().all(|&value| value == 0.0), "the older change is lost");
    assert!(model.get_layer("conv").unwrap().weights()[1].values().iter().any(|&bias| bias != 0.0));
}

#[test]
fn changed_slots_and_those_of_another_state_are_seen() {
    let model = model();
    let (mut session, state) = (session(&model), OptimizerState::default());
    step(&mut *session, 1, 0, &state);
    // `other` is another state that has the same version as `state`.
    let other = OptimizerState::default();
    step(&mut *session, 1, 1, &other);
    assert!(session.synchronize(&state).unwrap_err().to_string().contains("the state that apply was given"));
    session.synchronize(&other).unwrap();
    let bias = model.get_layer("top").unwrap().weights()[1].clone();
    other.update_slots(|slots| slots.insert(bias.id(), vec![vec![100.0; 3]]));
    step(&mut *session, 1, 2, &other);
    session.synchronize(&other).unwrap();
    assert!(other.slots()[&bias.id()][0].iter().all(|velocity| (89.0..91.0).contains(velocity)), "0.9 of 100");
}

#[test]
fn any_plan_gives_the_same_results() {
    let options = PlanOptions {
        chunk_bytes: 1,
        unchunked_bytes: 0,
        row_streaming: Some(RowStreaming::default()),
        fuses_activation: |_, _| true,
        fuses_pooling: |_| true,
        gradient_in_place: |_, _, _| true,
        ..PlanOptions::default().low_memory(true).fold_updates(true)
    };
    let train = |options: &PlanOptions| {
        let x = Input::new([8, 8, 2]);
        let y = Conv2D::new(3, 3).activation(Relu).named("frozen").call(&x).unwrap();
        let y = MaxPooling2D::new(2).call(&Conv2D::new(4, 3).named("also_frozen").call(&y).unwrap()).unwrap();
        let y = Conv2D::new(4, 1).activation(Relu).call(&y).unwrap();
        let y = Dense::new(3).activation(Softmax).call(&Flatten::new().call(&y).unwrap()).unwrap();
        let model = Model::new(&x, &y).unwrap();
        ["frozen", "also_frozen"].iter().for_each(|name| model.get_layer(name).unwrap().set_trainable(false));
        model.weights().iter().zip(0..).for_each(|(weight, i)| {
            weight.set(random(weight.shape(), i).into_data()).unwrap();
        });
        let (mut session, state) = (prepare(plan(&model, options)), OptimizerState::default());
        let (x, y) = (random(&[BATCH, 8, 8, 2], 1), classes(BATCH));
        session.forward_backward(&LabelledBatch::new(&[&x], &y), 0, &mut SingleReplica).unwrap();
        session.apply(UPDATE, &state).unwrap();
        session.synchronize(&state).unwrap();
        let (steps, folded) = (session.plan().program().steps.len(), session.plan().folds_update(4));
        (values(&model), steps, folded)
    };
    let ((plain, steps, _), (other, fused_steps, folded)) = (train(&PlanOptions::default()), train(&options));
    assert!(
        fused_steps == steps - 3 && folded,
        "both activations and pooling are fused, and the last update is folded"
    );
    assert!(plain == other);
}

#[test]
fn gradients_are_given_where_they_are_asked_for() {
    let model = model();
    let x = random(&[BATCH, 6, 6, 2], 1);
    let upstream = random(&[BATCH, 3], 2);
    let gradients = |request: GradientRequest| {
        let plan = Plan::gradients(&model, &request, BATCH, &PlanOptions::default()).unwrap();
        prepare(plan).gradients(&[&x], &[&upstream], 0).unwrap()
    };
    let all = gradients(GradientRequest { inputs: true, weights: true, ..GradientRequest::default() });
    assert_eq!((all.inputs[0].shape(), all.weights.len(), all.layers.len()), (x.shape(), 6, 0));
    let layers = vec!["conv".into(), "top".into()];
    let layers = gradients(GradientRequest { layers, ..GradientRequest::default() });
    assert!(layers.inputs.is_empty() && layers.weights.is_empty());
    assert_eq!(layers.layers[0].gradient.shape(), [BATCH, 4, 4, 3]);
    assert_eq!((&layers.layers[1].value, &layers.layers[1].gradient), (&layers.outputs[0], &upstream));
}

#[test]
fn a_fork_runs_by_itself() {
    let model = model();
    let (mut session, state) = (session(&model), OptimizerState::default());
    step(&mut *session, 1, 0, &state);
    let mut fork = session.fork().unwrap();
    assert_eq!(step(&mut *session, 1, 1, &state), step(&mut *fork, 1, 1, &OptimizerState::default()));
    let error = fork.apply(UPDATE, &state).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "gradients are applied once: {error}");
}
