//! Operators that apply a function of one variable to each element.

use engraft_nn::Result;

use super::elementwise::map;
use super::node::Node;
use super::value::Value;

/// The default constants of ONNX' operator `Selu`.
const SELU_ALPHA: f32 = 1.673_263_2;
const SELU_GAMMA: f32 = 1.050_701;

/// Applies the node's operator if it is a unary one; `None` for other operators. NaN stays NaN.
pub(super) fn unary(node: &mut Node<'_>) -> Result<Option<Value>> {
    let result = match node.op_type() {
        "Relu" => map(node, |x| if x < 0.0 { 0.0 } else { x }),
        "LeakyRelu" => {
            let alpha = node.float("alpha", 0.01)?;
            map(node, |x| if x < 0.0 { alpha * x } else { x })
        }
        "Elu" => {
            let alpha = node.float("alpha", 1.0)?;
            map(node, |x| if x < 0.0 { alpha * x.exp_m1() } else { x })
        }
        "Celu" => {
            let alpha = node.float("alpha", 1.0)?;
            map(node, |x| if x < 0.0 { alpha * (x / alpha).exp_m1() } else { x })
        }
        "Shrink" => {
            let (lambd, bias) = (node.float("lambd", 0.5)?, node.float("bias", 0.0)?);
            map(node, |x| if x.abs() <= lambd { 0.0 } else { x - bias.copysign(x) })
        }
        "Selu" => map(node, |x| SELU_GAMMA * if x > 0.0 { x } else { SELU_ALPHA * x.exp_m1() }),
        "Sigmoid" => map(node, |x| 1.0 / (1.0 + (-x).exp())),
        "HardSigmoid" => {
            let (alpha, beta) = (node.float("alpha", 0.2)?, node.float("beta", 0.5)?);
            map(node, |x| (alpha * x + beta).clamp(0.0, 1.0))
        }
        "HardSwish" => map(node, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        "Tanh" => map(node, f32::tanh),
        // `ln(1 + exp(x))`, written as `max(x, 0) + ln(1 + exp(-|x|))` so that `exp` can't overflow.
        "Softplus" => map(node, |x| (if x < 0.0 { 0.0 } else { x }) + (-x.abs()).exp().ln_1p()),
        "Softsign" => map(node, |x| x / (1.0 + x.abs())),
        "Abs" => map(node, f32::abs),
        "Neg" => map(node, |x| -x),
        "Not" => map(node, |x| if x == 0.0 { 1.0 } else { 0.0 }),
        "IsNaN" => map(node, |x| if x.is_nan() { 1.0 } else { 0.0 }),
        // `f32::signum` gives 1 for 0.
        "Sign" => map(node, |x| if x == 0.0 { x } else { x.signum() }),
        "Sqrt" => map(node, f32::sqrt),
        "Reciprocal" => map(node, f32::recip),
        "Log" => map(node, f32::ln),
        "Sin" => map(node, f32::sin),
        "Cos" => map(node, f32::cos),
        "Tan" => map(node, f32::tan),
        "Atan" => map(node, f32::atan),
        "Sinh" => map(node, f32::sinh),
        "Cosh" => map(node, f32::cosh),
        "Floor" => map(node, f32::floor),
        "Ceil" => map(node, f32::ceil),
        "Round" => map(node, f32::round_ties_even),
        "Exp" => map(node, f32::exp),
        "Erf" => map(node, libm::erff),
        "Clip" => {
            let bound = |index: usize, absent| match node.optional(index) {
                Some(_) => node.scalar(index),
                None => Ok(absent),
            };
            let (low, high) = (bound(1, f32::MIN)?, bound(2, f32::MAX)?);
            map(node, |x| {
                if x < low {
                    low
                } else if x > high {
                    high
                } else {
                    x
                }
            })
        }
        _ => return Ok(None),
    };
    result.map(Some)
}

#[cfg(test)]
mod tests {
    use engraft_formats::onnx::{Attribute, GraphNode};
    use engraft_nn::Tensor;

    use super::*;
    use crate::testing;

    fn applied(op_type: &str, attributes: Vec<Attribute>, x: &[f32]) -> Vec<f32> {
        let proto = GraphNode { op_type: op_type.into(), attributes, ..GraphNode::default() };
        let x = Value::Floats(Tensor::new([x.len()], x.to_vec()).unwrap());
        match unary(&mut Node::new(&proto, vec![Some(&x)])).unwrap() {
            Some(Value::Floats(y)) => y.into_data(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults_are_those_of_onnx() {
        assert_eq!(applied("LeakyRelu", vec![], &[-1.0, 2.0]), [-0.01, 2.0]);
        assert_eq!(applied("LeakyRelu", vec![testing::float("alpha", 0.5)], &[-1.0]), [-0.5]);
        assert_eq!(applied("HardSigmoid", vec![], &[-9.0, 0.0, 1.0, 9.0]), [0.0, 0.5, 0.7, 1.0]);
        assert_eq!(applied("Clip", vec![], &[-1e30, 1e30]), [-1e30, 1e30]);
        assert_eq!(applied("Softplus", vec![], &[-1e30, 1e30]), [0.0, 1e30]);
    }

    #[test]
    fn halves_are_rounded_to_even_numbers_and_zero_has_no_sign() {
        assert_eq!(applied("Round", vec![], &[-1.5, 0.5, 1.5, 2.5]), [-2.0, 0.0, 2.0, 2.0]);
        assert_eq!(applied("Sign", vec![], &[-3.0, 0.0, 0.5]), [-1.0, 0.0, 1.0]);
        assert_eq!(applied("Not", vec![], &[0.0, 1.0]), [1.0, 0.0]);
        assert_eq!(applied("IsNaN", vec![], &[0.0, f32::NAN]), [0.0, 1.0]);
    }

    #[test]
    fn nan_stays_nan() {
        let functions = ["Relu", "LeakyRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh"];
        let others = [
            "Softplus", "Softsign", "Exp", "Erf", "Clip", "Celu", "Shrink", "Neg", "Abs", "Sign", "Sqrt", "Log",
            "Round",
        ];
        for op_type in functions.into_iter().chain(others) {
            assert!(applied(op_type, vec![], &[f32::NAN])[0].is_nan(), "{op_type}");
        }
    }
}
