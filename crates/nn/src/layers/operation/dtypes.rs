//! The types of operations' results in Keras, where an operand has integers.

use serde_json::{Map, Value};

use super::is_tensor;
use crate::{DType, Result};

/// Operations that move or select numbers of tensors. Constants among their arguments are places.
const MOVING: [&str; 33] = [
    "BroadcastTo",
    "Copy",
    "CropImages",
    "DepthToSpace",
    "ExpandDims",
    "ExtractPatches",
    "Flip",
    "FullLike",
    "GetItem",
    "Hstack",
    "MaxPool",
    "Moveaxis",
    "NanToNum",
    "OnesLike",
    "Pad",
    "PadImages",
    "RGBToGrayscale",
    "Repeat",
    "Reshape",
    "Resize",
    "Roll",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Stack",
    "StopGradient",
    "Swapaxes",
    "Take",
    "Tile",
    "Transpose",
    "Unstack",
    "ZerosLike",
    "Concatenate",
];

/// Operations whose results are within the range of their operands, constants included.
const WITHIN: [&str; 19] = [
    "Abs",
    "Absolute",
    "Amax",
    "Amin",
    "Append",
    "Clip",
    "FloorDivide",
    "Max",
    "Maximum",
    "Min",
    "Minimum",
    "Mod",
    "ReLU",
    "Relu",
    "Relu6",
    "Round",
    "Sign",
    "Trunc",
    "Where",
];

const COMPARISONS: [&str; 12] = [
    "Equal",
    "Greater",
    "GreaterEqual",
    "Isfinite",
    "Isnan",
    "Less",
    "LessEqual",
    "LogicalAnd",
    "LogicalNot",
    "LogicalOr",
    "LogicalXor",
    "NotEqual",
];

/// The type of an operation's result for tensors of these types.
///
/// # Errors
/// Arithmetic that may leave the range of the integers.
pub(super) fn of(class: &str, config: &Map<String, Value>, arguments: &[Value], tensors: &[DType]) -> Result<DType> {
    let operands = || {
        let constants = arguments.iter().filter_map(|argument| constant(argument, tensors));
        tensors.iter().copied().chain(constants).collect::<Vec<_>>()
    };
    match class {
        "Add" | "Dot" | "Einsum" | "Matmul" | "Multiply" | "Power" | "Square" | "Tensordot" => {
            DType::of_arithmetic(&operands())
        }
        "Subtract" if is_inversion(arguments, tensors) => Ok(DType::common(tensors)),
        "Negative" | "Subtract" => DType::of_difference(&operands()),
        "Prod" | "Sum" => Ok(sum(DType::common(tensors))),
        "Cast" | "ConvertToTensor" => {
            let name = config.get("dtype").and_then(Value::as_str);
            Ok(name.and_then(DType::parse).unwrap_or_else(|| DType::common(tensors)))
        }
        _ if COMPARISONS.contains(&class) => Ok(DType::Bool),
        _ if MOVING.contains(&class) => Ok(DType::common(tensors)),
        _ if WITHIN.contains(&class) => Ok(DType::common(&operands())),
        _ => Ok(DType::Float),
    }
}

/// The type of a constant operand beside tensors of these types; `None` for a tensor. An integer takes the type of the tensors.
fn constant(argument: &Value, tensors: &[DType]) -> Option<DType> {
    let int32 = DType::Integer { signed: true, bits: 32 };
    match argument {
        Value::Bool(_) => Some(DType::Bool),
        Value::Number(number) if number.is_f64() => Some(DType::Float),
        Value::Number(_) if DType::common(tensors) == DType::Bool => Some(int32),
        Value::Number(_) => None,
        Value::Array(list) => {
            let types: Vec<DType> = list.iter().filter_map(|element| constant(element, &[int32])).collect();
            (!argument.to_string().contains("__keras_tensor__"))
                .then(|| DType::common(&[&[int32], &types[..]].concat()))
        }
        Value::Object(_) if is_tensor(argument) => None,
        Value::Object(_) => argument.pointer("/config/dtype").and_then(Value::as_str).and_then(DType::parse),
        _ => None,
    }
}

/// Whether a difference is `255 - x` of pixels, which stays within uint8.
fn is_inversion(arguments: &[Value], tensors: &[DType]) -> bool {
    let pixels = DType::Integer { signed: false, bits: 8 };
    tensors == [pixels] && arguments.first().and_then(Value::as_i64) == Some(255)
}

/// The type of a sum, which has 32 bits at least.
fn sum(of: DType) -> DType {
    match of {
        DType::Bool => DType::Integer { signed: true, bits: 32 },
        DType::Integer { signed, bits } => DType::Integer { signed, bits: bits.max(32) },
        DType::Float => DType::Float,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{OPERATIONS, tensor_argument};
    use super::*;

    // The types of results of Keras 3.15 on TensorFlow.
    #[test]
    fn types_of_results_are_those_of_keras() {
        let x = tensor_argument();
        for (class, arguments, tensors, expected) in [
            ("Multiply", json!([x, 0.5]), "uint8", Ok("float")),
            ("Multiply", json!([x, 2]), "int32", Ok("int32")),
            ("Multiply", json!([x, 2]), "bool", Ok("int32")),
            ("Multiply", json!([x, 2]), "uint8", Err("uint8")),
            ("Multiply", json!([x, [1, 2, 3]]), "uint8", Ok("int32")),
            ("Multiply", json!([x, {"class_name": "__numpy__", "config": {"dtype": "uint8"}}]), "uint8", Err("uint8")),
            ("Square", json!([x]), "int16", Err("int16")),
            ("Matmul", json!([x, x]), "uint8 uint8", Err("uint8")),
            ("Subtract", json!([255, x]), "uint8", Ok("uint8")),
            ("Subtract", json!([254, x]), "uint8", Err("uint8")),
            ("Subtract", json!([x, x]), "uint32 uint32", Err("uint32")),
            ("Negative", json!([x]), "int32", Ok("int32")),
            ("Sum", json!([x]), "uint8", Ok("uint32")),
            ("Mean", json!([x]), "uint8", Ok("float")),
            ("TrueDivide", json!([x, 2]), "uint8", Ok("float")),
            ("Greater", json!([x, 2]), "uint8", Ok("bool")),
            ("Where", json!([x, x, 0]), "bool uint8", Ok("uint8")),
            ("Maximum", json!([x, 0.5]), "uint8", Ok("float")),
            ("Take", json!([x, [0, 1]]), "uint8", Ok("uint8")),
            ("Resize", json!([x]), "uint8", Ok("uint8")),
            ("Sqrt", json!([x]), "uint8", Ok("float")),
        ] {
            let tensors: Vec<DType> = tensors.split(' ').map(|name| DType::parse(name).unwrap()).collect();
            let found = of(class, &Map::new(), arguments.as_array().unwrap(), &tensors);
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.to_string(), expected, "{class} {arguments}"),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(&format!("of type {expected}, "))),
                (found, _) => panic!("{class} {arguments}: {found:?}"),
            }
        }
        let cast = json!({"dtype": "uint8"});
        assert_eq!(of("Cast", cast.as_object().unwrap(), &[x], &[DType::Float]).unwrap().to_string(), "uint8");
    }

    #[test]
    fn the_classes_are_those_of_operations() {
        let known = |class: &&str| OPERATIONS.iter().any(|(known, ..)| known == class);
        let classes = MOVING.iter().chain(&WITHIN).chain(&COMPARISONS);
        assert_eq!(classes.filter(|class| !known(class)).count(), 0);
    }
}
