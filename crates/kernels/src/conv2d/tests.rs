//! Every algorithm compared with the reference, on ordinary and on odd inputs.

use super::Conv2d;
use super::cases::{
    BF16_TOLERANCE, TOLERANCE, every_algorithm, is_exact, relative_error, same_3x3, shape, shapes, shapes_of_3x3,
};
use crate::testing::{assert_same_for_any_threads, integers, to_f32, uniform};
use crate::{Activation, Conv2dShape, reference};

#[test]
fn forward_passes_of_every_algorithm_agree_with_the_reference() {
    for shape in shapes().into_iter().chain(shapes_of_3x3()) {
        let (x, w, bias) = (integers(shape.x_len(), 1), integers(shape.w_len(), 2), integers(shape.out_c, 3));
        let mut expected = reference::conv2d(&shape, &x, &w);
        expected.iter_mut().enumerate().for_each(|(i, y)| *y = (*y + f64::from(bias[i % shape.out_c])).max(0.0));
        for (name, conv) in every_algorithm(shape) {
            let (mut y, mut scratch) = (vec![f32::NAN; shape.y_len()], vec![f32::NAN; conv.forward_scratch_len()]);
            conv.forward(&x, &w, Some(&bias), Activation::Relu, &mut y, &mut scratch);
            match is_exact(&conv) {
                true => assert!(y == to_f32(&expected), "{name} {shape:?}"),
                false => assert!(relative_error(&y, &expected) < TOLERANCE, "{name} {shape:?}"),
            }
        }
    }
}

#[test]
fn non_finite_and_subnormal_inputs_reach_the_outputs() {
    let shape = same_3x3([1, 9, 10, 9], 8);
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, f32::MIN_POSITIVE, 1e30] {
        let (mut x, w) = (uniform(shape.x_len(), 1), uniform(shape.w_len(), 2));
        x[200] = value;
        let expected = reference::conv2d(&shape, &x, &w);
        for (name, conv) in every_algorithm(shape) {
            let (mut y, mut scratch) = (vec![0.0; shape.y_len()], vec![0.0; conv.scratch_len()]);
            conv.forward(&x, &w, None, Activation::Linear, &mut y, &mut scratch);
            for (y, expected) in y.iter().zip(&expected) {
                assert!(expected.is_finite() || !y.is_finite(), "{name}, {value}: {y} instead of {expected}");
            }
            if value.is_finite() {
                let tolerance = if conv.algorithm() == "direct" { BF16_TOLERANCE } else { TOLERANCE };
                assert!(relative_error(&y, &expected) < tolerance, "{name}, {value}");
            }
        }
    }
}

#[test]
fn same_bits_for_any_number_of_threads() {
    for (image, out_c) in [([3, 62, 40, 9], 12), ([2, 30, 20, 9], 5), ([1, 6, 6, 70], 200)] {
        let shape = same_3x3(image, out_c);
        let (x, w, dy) = (uniform(shape.x_len(), 1), uniform(shape.w_len(), 2), uniform(shape.y_len(), 3));
        for (_, conv) in every_algorithm(shape) {
            assert_same_for_any_threads(|| {
                let mut scratch = vec![0.0; conv.scratch_len()];
                let mut results = [vec![0.0; shape.y_len()], vec![0.0; shape.x_len()], vec![0.0; shape.w_len()]];
                let [y, dx, dw] = &mut results;
                conv.forward(&x, &w, None, Activation::Linear, y, &mut scratch);
                conv.input_gradient(&dy, &w, dx, &mut scratch);
                conv.kernel_gradient(&x, &dy, dw, &mut scratch);
                results.concat()
            });
        }
    }
}

#[test]
fn an_empty_batch_gives_a_zero_kernel_gradient() {
    let shape = same_3x3([0, 4, 4, 2], 3);
    for (_, conv) in every_algorithm(shape) {
        let mut scratch = vec![f32::NAN; conv.scratch_len()];
        let w = vec![1.0; shape.w_len()];
        let mut dw = vec![f32::NAN; shape.w_len()];
        conv.forward(&[], &w, None, Activation::Linear, &mut [], &mut scratch);
        conv.input_gradient(&[], &w, &mut [], &mut scratch);
        conv.kernel_gradient(&[], &[], &mut dw, &mut scratch);
        assert_eq!(dw, vec![0.0; shape.w_len()]);
    }
}

/// A band of rows may read nothing but padding, and an image may be empty.
#[test]
fn empty_inputs_and_outputs() {
    for (in_h, in_w, out_h, out_w) in [(0, 5, 2, 5), (4, 5, 0, 5), (4, 5, 4, 0), (4, 0, 4, 1), (0, 0, 0, 0)] {
        let (kernel, stride, dilation, pad) = ([3, 3], [1, 1], [1, 1], [1, 1]);
        let shape = Conv2dShape {
            batch: 1,
            in_h,
            in_w,
            in_c: 4,
            out_c: 5,
            kernel,
            stride,
            dilation,
            pad,
            out_h,
            out_w,
            groups: 1,
        };
        let (x, w) = (vec![1.0; shape.x_len()], vec![1.0; shape.w_len()]);
        for (name, conv) in
            every_algorithm(shape).into_iter().filter(|(_, conv)| conv.algorithm.has_register_epilogue())
        {
            let (mut y, mut scratch) = (vec![f32::NAN; shape.y_len()], vec![f32::NAN; conv.scratch_len()]);
            conv.forward(&x, &w, None, Activation::Linear, &mut y, &mut scratch);
            assert!(!(in_h * in_w == 0 && y.iter().any(|&y| y != 0.0)), "{name} {shape:?}");
            let mut dx = vec![f32::NAN; shape.x_len()];
            conv.input_gradient(&y, &w, &mut dx, &mut scratch);
            assert!(!(out_h * out_w == 0 && dx.iter().any(|&dx| dx != 0.0)), "{name} {shape:?}");
            let conv = conv.pooled();
            conv.forward(&x, &w, None, Activation::Linear, &mut vec![0.0; conv.output_len()], &mut scratch);
        }
    }
}

#[test]
#[should_panic(expected = "groups must divide the channels")]
fn groups_must_divide_the_channels() {
    Conv2d::new(shape([1, 4, 4, 3], 4, [3, 3], [1, 1], [1, 1], [2, 2], 2));
}
