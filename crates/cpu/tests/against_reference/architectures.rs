//! Small versions of common architectures, large enough to use the same kernels and fusions as the originals.

use engraft_cpu::CpuExecutor;
use engraft_nn::Axes;
use engraft_nn::prelude::*;
use engraft_plan::{Executor, GradientRequest, Plan};
use engraft_reference::ReferenceExecutor;

use crate::compare::{BATCH, TOLERANCE, check, compare_gradients, compare_training, inner_layers, optimizers, sgd};
use crate::support::{normal, options, randomize};

/// A classifier on top of `layers`, the first `frozen` of which are frozen.
fn classifier(shape: [usize; 3], layers: &[Layer], frozen: usize) -> Model {
    let x = Input::new(shape);
    let y = layers.iter().fold(x.clone(), |y, layer| layer.call(&y).unwrap());
    let y = Dense::new(6).activation(Relu).call(&Flatten::new().call(&y).unwrap()).unwrap();
    let y = Dropout::new(0.2).call(&y).unwrap();
    let y = Dense::new(3).kernel_regularizer(Regularizer::l2(0.01)).activation(Softmax).call(&y).unwrap();
    let model = Model::new(&x, &y).unwrap();
    model.layers()[1..].iter().take(frozen).for_each(|layer| layer.set_trainable(false));
    randomize(&model, 1);
    model
}

fn conv(filters: usize) -> Layer {
    Conv2D::new(filters, 3).padding(Padding::Same).activation(Relu).into_layer()
}

/// Compares the two executors: all gradients without frozen layers, and three training steps for each number of frozen layers.
fn compare_classifiers(shape: [usize; 3], layers: &dyn Fn() -> Vec<Layer>, frozen: &[usize]) {
    let request = GradientRequest { training: true, inputs: true, weights: true, ..GradientRequest::default() };
    compare_gradients(&classifier(shape, &layers(), 0), &request, "all gradients");
    for &frozen in frozen {
        let model = classifier(shape, &layers(), frozen);
        compare_training(&model, &sgd(), &format!("{frozen} layers frozen"));
    }
}

#[test]
fn winograd_convolutions_with_fused_pooling() {
    let pool = || MaxPooling2D::new(2).into_layer();
    let layers = || vec![conv(16), conv(24), pool(), conv(32), conv(33), pool(), conv(24)];
    compare_classifiers([25, 28, 3], &layers, &[0, 6]);
    let fused = Plan::train(
        &classifier([25, 28, 3], &layers(), 6),
        sgd(),
        Loss::categorical_crossentropy(),
        BATCH,
        5,
        &options(),
    );
    let steps = fused.unwrap().program().steps.iter().filter(|step| step.layer.contains(", ")).count();
    assert_eq!(steps, 2, "pooling is fused where nothing is differentiated");
}

#[test]
fn a_residual_stem_and_its_blocks() {
    let layers = || {
        vec![
            Conv2D::new(16, 7).strides(2).padding(Padding::Same).into_layer(),
            BatchNormalization::new().into_layer(),
            Activation::new(Relu).into_layer(),
            MaxPooling2D::new(3).strides(2).padding(Padding::Same).into_layer(),
            Conv2D::new(8, 1).activation(Relu).into_layer(),
            BatchNormalization::new().into_layer(),
            Conv2D::new(16, 3).dilation_rate(2).groups(2).into_layer(),
            AveragePooling2D::new(2).into_layer(),
        ]
    };
    compare_classifiers([27, 30, 3], &layers, &[0, 5]);
}

#[test]
fn depthwise_convolutions() {
    let relu6 = || ReLU::new().max_value(6.0).into_layer();
    let layers = || {
        vec![
            Conv2D::new(8, 3).strides(2).padding(Padding::Same).into_layer(),
            BatchNormalization::new().into_layer(),
            relu6(),
            DepthwiseConv2D::new(3).padding(Padding::Same).into_layer(),
            BatchNormalization::new().into_layer(),
            relu6(),
            SeparableConv2D::new(12, 3).strides(2).depth_multiplier(2).padding(Padding::Same).into_layer(),
            DepthwiseConv2D::new(5).padding(Padding::Same).activation(Relu).into_layer(),
        ]
    };
    compare_classifiers([21, 24, 3], &layers, &[0, 6]);
}

/// Inverted residual blocks as in EfficientNet-Lite0: normalizations are folded into the convolutions before them.
#[test]
fn convolutions_with_folded_normalizations() {
    let relu6 = || ReLU::new().max_value(6.0).into_layer();
    let norm = || BatchNormalization::new().into_layer();
    let same = |kernel| DepthwiseConv2D::new(kernel).padding(Padding::Same);
    let layers = || {
        let stem = Conv2D::new(8, 3).strides(2).padding(Padding::Same).use_bias(false).into_layer();
        let expand = Conv2D::new(40, 1).into_layer();
        let [narrow, project] = [16, 20].map(|filters| Conv2D::new(filters, 1).use_bias(false).into_layer());
        let winograd = Conv2D::new(24, 3).padding(Padding::Same).into_layer();
        [
            [stem, norm(), relu6()],
            [expand, norm(), relu6()],
            [same(5).use_bias(false).into_layer(), norm(), relu6()],
            [project, norm(), Activation::new(engraft_nn::ActivationFn::Silu).into_layer()],
            [same(3).strides(2).into_layer(), norm(), relu6()],
            [narrow, norm(), Activation::new(Relu).into_layer()],
            [winograd, BatchNormalization::new().scale(false).center(false).into_layer(), relu6()],
        ]
        .concat()
    };
    compare_classifiers([21, 24, 3], &layers, &[0, 9, 21]);
    let plan = Plan::train(
        &classifier([21, 24, 3], &layers(), 21),
        sgd(),
        Loss::categorical_crossentropy(),
        BATCH,
        5,
        &options(),
    );
    let plan = plan.unwrap();
    assert_eq!(plan.program().steps.iter().filter(|step| step.normalization.is_some()).count(), 7);
}

/// Operations that the random graphs don't have: broadcasts, permutations, slices and resampling.
#[test]
fn values_weighed_permuted_and_resampled() {
    let x = Input::new([9, 8, 3]);
    let y = SeparableConv2D::new(4, 3).depth_multiplier(2).padding(Padding::Same).activation(Tanh).call(&x).unwrap();
    let weights = Dense::new(4).activation(Sigmoid).named("weights").into_layer();
    let weights = weights.call(&GlobalMaxPooling2D::new().call(&y).unwrap()).unwrap();
    let weighed = Multiply::new().call([&Reshape::new([1, 1, 4]).call(&weights).unwrap(), &y]).unwrap();
    let mean = Average::new().call([&Multiply::new().call([&y, &y, &weighed]).unwrap(), &weighed]).unwrap();
    let y = Permute::new([2, 3, 1]).call(&Subtract::new().call([&mean, &y]).unwrap()).unwrap();
    let y = engraft_nn::layers::Softmax::new().axis(1).call(&y).unwrap();
    let y = UpSampling2D::new(2).call(&Cropping2D::new([[1, 0], [0, 1]]).call(&y).unwrap()).unwrap();
    let y = ELU::new(0.5).call(&Resizing::new(5, 6).call(&y).unwrap()).unwrap();
    let y = LeakyReLU::new(0.2).call(&BatchNormalization::new().call(&y).unwrap()).unwrap();
    let y = Dense::new(3).activation(Softmax).call(&Flatten::new().call(&y).unwrap()).unwrap();
    let model = Model::new(&x, &y).unwrap();
    randomize(&model, 1);
    for training in [false, true] {
        let layers = inner_layers(&model, 4);
        let request = GradientRequest { training, seed: 0, inputs: true, weights: true, layers };
        compare_gradients(&model, &request, &format!("training {training}"));
    }
    optimizers().iter().for_each(|optimizer| compare_training(&model, optimizer, &format!("{optimizer:?}")));
}

/// A block of ConvNeXt, with other normalizations, PReLU, a transposed convolution and adaptive pooling around it.
#[test]
fn normalizations_within_samples() {
    let x = Input::new([9, 8, 3]);
    let stem = Conv2D::new(8, 3).strides(2).call(&x).unwrap();
    let y = DepthwiseConv2D::new(3).padding(Padding::Same).call(&stem).unwrap();
    let y = LayerNormalization::new().epsilon(1e-2).call(&y).unwrap();
    let y = Dense::new(16).activation(engraft_nn::ActivationFn::Gelu).call(&y).unwrap();
    let y = Dense::new(8).call(&y).unwrap();
    let y = engraft_nn::layers::LayerScale::new(0.5, 8).call(&y).unwrap();
    let y = GroupNormalization::new(4).call(&Add::new().call([&stem, &y]).unwrap()).unwrap();
    let y = PReLU::new().shared_axes([1, 2]).call(&y).unwrap();
    let y = Conv2DTranspose::new(6, 3).strides(2).padding(Padding::Same).activation(Tanh).call(&y).unwrap();
    let y = engraft_nn::layers::AdaptiveAveragePooling2D::new([3, 4]).call(&y).unwrap();
    let y = engraft_nn::layers::AdaptiveMaxPooling2D::new([2, 3]).call(&y).unwrap();
    let y = LayerNormalization::new().axis([1, 2]).epsilon(0.1).call(&y).unwrap();
    let y = RMSNormalization::new().epsilon(0.1).call(&UnitNormalization::new().axis([1]).call(&y).unwrap()).unwrap();
    let y = Dense::new(3).activation(Softmax).call(&Flatten::new().call(&y).unwrap()).unwrap();
    let model = Model::new(&x, &y).unwrap();
    randomize(&model, 1);
    for training in [false, true] {
        let layers = inner_layers(&model, 4);
        let request = GradientRequest { training, seed: 0, inputs: true, weights: true, layers };
        compare_gradients(&model, &request, &format!("training {training}"));
    }
    optimizers().iter().for_each(|optimizer| compare_training(&model, optimizer, &format!("{optimizer:?}")));
}

#[test]
fn streamed_rows() {
    let x = Input::new([260, 264, 3]);
    let y = MaxPooling2D::new(2).call(&conv(9).call(&conv(32).call(&x).unwrap()).unwrap()).unwrap();
    let model = Model::new(&x, &y).unwrap();
    randomize(&model, 1);
    let predict = |executor: &dyn Executor| {
        let plan = Plan::predict(&model, 1, &executor.plan_options()).unwrap();
        let streamed = plan.stream(0).is_some();
        let output = executor.prepare(plan).unwrap().predict(&[&normal(&[1, 260, 264, 3], 1)]).unwrap().remove(0);
        (streamed, vec![("output".to_string(), output.into_data())])
    };
    let (streamed, found) = predict(&CpuExecutor::new(Some(2)).unwrap());
    check(&found, &predict(&ReferenceExecutor).1, TOLERANCE, "streamed");
    assert!(streamed);
}

#[test]
fn constraints_follow_each_step() {
    let dense = |constraint: Constraint| Dense::new(6).activation(Relu).kernel_constraint(constraint);
    let of_filters = Axes::Several(vec![0, 1, 2]);
    let kernel = Constraint::MinMaxNorm { min_value: 0.5, max_value: 0.9, rate: 0.7, axis: of_filters };
    let conv = Conv2D::new(4, 3).kernel_constraint(kernel).bias_constraint(Constraint::non_neg());
    let model = Sequential::new()
        .add(Input::new([6, 5, 3]))
        .add(conv)
        .add(Flatten::new())
        .add(dense(Constraint::UnitNorm { axis: Axes::One(1) }))
        .add(Dense::new(3).activation(Softmax).kernel_constraint(Constraint::max_norm(0.8)));
    let model = model.build().unwrap();
    randomize(&model, 1);
    for optimizer in optimizers() {
        compare_training(&model, &optimizer, &format!("constraints, {optimizer:?}"));
    }
}
