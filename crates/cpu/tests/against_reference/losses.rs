//! Every loss and optimizer with sample weights, on the CPU executor and the reference executor.

use engraft_cpu::CpuExecutor;
use engraft_nn::OptimizerState;
use engraft_nn::prelude::*;
use engraft_plan::{Executor, LabelledBatch, Plan};
use engraft_reference::ReferenceExecutor;

use crate::compare::{BATCH, EPSILON, Named, TRAINING_TOLERANCE, check, named_weights, optimizers};
use crate::support::{batches, one_hot, randomize, restore, weights};

/// Results of three training steps and an evaluation with sample weights. The batch is smaller than the plan's.
fn weighted(executor: &dyn Executor, model: &Model, optimizer: &Optimizer, loss: &Loss, targets: &Tensor) -> Named {
    let before = weights(model);
    let inputs = batches(model.inputs(), BATCH, 10);
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    let labelled = LabelledBatch::new(&inputs, targets).sample_weights(Some(&[0.5, 2.0, 0.0]));
    let options = executor.plan_options();
    let plan = Plan::train(model, optimizer.clone(), *loss, BATCH + 2, 5, &options).unwrap();
    let (mut session, state) = (executor.prepare(plan).unwrap(), OptimizerState::default());
    let mut steps: Vec<_> = (0..3).map(|_| session.train_step(&labelled, 0.05, &state).unwrap()).collect();
    session.synchronize(&state).unwrap();
    let plan = Plan::evaluate(model, *loss, BATCH + 2, &options).unwrap();
    steps.push(executor.prepare(plan).unwrap().evaluate(&labelled).unwrap());
    let mut all = Named::new();
    for (step, output) in steps.into_iter().enumerate() {
        all.push((format!("loss {step}"), vec![output.loss as f32]));
        all.push((format!("output {step}"), output.output.into_data()));
    }
    all.extend(named_weights(model));
    restore(model, &before);
    all
}

#[test]
fn losses_with_sample_weights_in_small_batches() {
    let model = |top: Dense| {
        let x = Input::new([5]);
        let hidden = Dense::new(4).activation(Tanh).kernel_regularizer(Regularizer::l1(0.01)).call(&x).unwrap();
        let model = Model::new(&x, &top.call(&BatchNormalization::new().call(&hidden).unwrap()).unwrap()).unwrap();
        randomize(&model, 1);
        model
    };
    let classes = || Tensor::new([BATCH, 1], vec![0.0, 2.0, 1.0]).unwrap();
    let yes_or_no = || Tensor::new([BATCH, 1], vec![0.0, 1.0, 1.0]).unwrap();
    let softmax = || model(Dense::new(3).activation(Softmax));
    let cases = [
        (softmax(), Loss::categorical_crossentropy(), one_hot(BATCH, 3)),
        (softmax(), Loss::categorical_crossentropy().label_smoothing(0.1), one_hot(BATCH, 3)),
        (softmax(), Loss::sparse_categorical_crossentropy(), classes()),
        (model(Dense::new(3)), Loss::sparse_categorical_crossentropy().from_logits(true), classes()),
        (model(Dense::new(1).activation(Sigmoid)), Loss::binary_crossentropy(), yes_or_no()),
        (model(Dense::new(1)), Loss::binary_crossentropy().from_logits(true), yes_or_no()),
    ];
    let nesterov = Sgd { weight_decay: Some(0.1), ..Sgd::new(0.05).momentum(0.9).nesterov(true) };
    let adam_w = match Optimizer::adam_w(0.05) {
        Optimizer::AdamW(adam) => Optimizer::AdamW(adam.epsilon(EPSILON)),
        other => other,
    };
    for (model, loss, targets) in &cases {
        for optimizer in optimizers().into_iter().chain([nesterov.clone().into(), adam_w.clone()]) {
            let [found, expected] = [&CpuExecutor::new(Some(1)).unwrap() as &dyn Executor, &ReferenceExecutor]
                .map(|executor| weighted(executor, model, &optimizer, loss, targets));
            check(&found, &expected, TRAINING_TOLERANCE, &format!("{loss:?}, {optimizer:?}"));
        }
    }
}
