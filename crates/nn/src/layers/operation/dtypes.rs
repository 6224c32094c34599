//! The types of operations' results in Keras, where an operand has integers.

use serde_json::{Number, Value};

use super::{Operation, is_tensor};
use crate::{DType, Error, ErrorKind, Result};

/// Operations whose results are numbers of their tensors in other places.
const MOVING: [&str; 30] = [
    "BroadcastTo",
    "Concatenate",
    "Copy",
    "CropImages",
    "DepthToSpace",
    "ExpandDims",
    "ExtractPatches",
    "Flip",
    "GetItem",
    "Hstack",
    "MaxPool",
    "Moveaxis",
    "NanToNum",
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
    "Trunc",
    "Unstack",
];

/// Operations whose results never leave the range of their operands, which include constants.
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
    "Pad",
    "ReLU",
    "Relu",
    "Relu6",
    "Round",
    "Sign",
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

/// Options that are operands.
const OPERANDS: [&str; 3] = ["constant_values", "x_max", "x_min"];

/// The type of an operation's result for tensors of these types.
///
/// # Errors
/// Integer arithmetic whose results f32 can't represent exactly, and constants outside the range of the tensor's dtype.
pub(super) fn of(operation: &Operation, tensors: &[DType]) -> Result<DType> {
    let common = DType::common(tensors);
    let operands = || operands(operation, tensors);
    let option = |name: &str| operation.config.get(name).or_else(|| operation.keywords.get(name));
    let stated = option("dtype").and_then(Value::as_str).and_then(DType::parse);
    match operation.class_name {
        "Add" => Ok(DType::common(&operands()?)),
        "Negative" | "Subtract" => DType::of_difference(&operands()?),
        "Multiply" => DType::of_product(&operands()?),
        "Square" => DType::of_product(&[common, common]),
        "Dot" | "Einsum" | "Matmul" | "Power" | "Tensordot" => DType::of_arithmetic(&operands()?),
        "Prod" | "Sum" => Ok(sum(common)),
        "Cast" | "ConvertToTensor" | "OnesLike" | "ZerosLike" => Ok(stated.unwrap_or(common)),
        "FullLike" => match stated {
            Some(stated) => Ok(stated),
            // Keras cuts off the fraction of the constant.
            None if DType::common(&operands()?) != common => Err(common.refused("which the constant isn't")),
            None => Ok(common),
        },
        class if COMPARISONS.contains(&class) => operands().map(|_| DType::Bool),
        class if MOVING.contains(&class) => Ok(common),
        class if WITHIN.contains(&class) => Ok(DType::common(&operands()?)),
        _ => Ok(DType::Float),
    }
}

/// The types of an operation's tensors and constants.
fn operands(operation: &Operation, tensors: &[DType]) -> Result<Vec<DType>> {
    let options = [&operation.config, &operation.keywords];
    let options = options.into_iter().flatten().filter(|(name, _)| OPERANDS.contains(&name.as_str()));
    let constants = operation.arguments.iter().chain(options.map(|(_, value)| value));
    let mut operands = tensors.to_vec();
    for constant in constants {
        operands.extend(constant_type(constant, DType::common(tensors))?);
    }
    Ok(operands)
}

/// The type of a constant beside tensors of this type; `None` for a tensor, and for an integer, which takes their type.
fn constant_type(constant: &Value, tensors: DType) -> Result<Option<DType>> {
    match constant {
        Value::Bool(_) => Ok(Some(DType::Bool)),
        Value::Number(number) if number.is_f64() => Ok(Some(DType::Float)),
        Value::Number(_) if tensors == DType::Bool => Ok(Some(DType::Integer { signed: true, bits: 32 })),
        Value::Number(number) => check_range(number, tensors).map(|()| None),
        Value::Object(_) if is_tensor(constant) => Ok(None),
        Value::Object(_) => Ok(constant.pointer("/config/dtype").and_then(Value::as_str).and_then(DType::parse)),
        _ => Ok(None),
    }
}

fn check_range(number: &Number, dtype: DType) -> Result<()> {
    match (number.as_f64(), dtype.range()) {
        (Some(value), Some([low, high])) if value < low.into() || value > high.into() => {
            Err(Error::new("constant", format_args!("a number that {dtype} has, the type of the tensor"), number)
                .with_kind(ErrorKind::Unsupported)
                .hint("Keras makes another number of it; convert the pixels to float32 before: a cast in Python, or a Rescaling layer"))
        }
        _ => Ok(()),
    }
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

    use super::super::{OPERATIONS, operation_from_config, tensor_argument};
    use super::*;

    fn type_of(class: &str, config: Value, arguments: Value, tensors: &str) -> Result<DType> {
        let mut config = config.as_object().unwrap().clone();
        config.insert("name".into(), "f".into());
        let layer = operation_from_config(class, config, arguments.as_array().unwrap().clone())?;
        let tensors: Vec<DType> = tensors.split(' ').map(|name| DType::parse(name).unwrap()).collect();
        layer.def().output_dtype(&tensors)
    }

    // The types of results of Keras 3.15 on TensorFlow.
    #[test]
    fn types_of_results_are_those_of_keras() {
        let x = tensor_argument();
        let array = json!({"class_name": "__numpy__", "config": {"value": [1, 2, 3], "dtype": "uint8"}});
        for (class, arguments, tensors, expected) in [
            ("Add", json!([x, 100]), "uint8", "uint8"),
            ("Add", json!([x, x]), "uint32 uint32", "uint32"),
            ("Multiply", json!([x, 0.5]), "uint8", "float"),
            ("Multiply", json!([x, 2]), "int32", "int32"),
            ("Multiply", json!([x, 2]), "bool", "int32"),
            ("Multiply", json!([x, array]), "uint8", "uint8"),
            ("Multiply", json!([x, x]), "uint8 bool", "uint8"),
            ("Subtract", json!([x, x]), "uint8 int8", "int16"),
            ("Negative", json!([x]), "int32", "int32"),
            ("TrueDivide", json!([x, 2]), "uint8", "float"),
            ("Greater", json!([x, 2]), "uint8", "bool"),
            ("Where", json!([x, x, 0]), "bool uint8", "uint8"),
            ("Maximum", json!([x, 0.5]), "uint8", "float"),
            ("Sqrt", json!([x]), "uint8", "float"),
            ("Square", json!([x]), "uint8", "uint8"),
        ] {
            let found = type_of(class, json!({}), arguments.clone(), tensors).unwrap();
            assert_eq!(found.to_string(), expected, "{class} {arguments}");
        }
        for (class, config, arguments, tensors, expected) in [
            ("Sum", json!({"axis": -1, "keepdims": false}), json!([x]), "uint8", "uint32"),
            ("Mean", json!({"axis": -1, "keepdims": false}), json!([x]), "uint8", "float"),
            ("Take", json!({"axis": 1}), json!([x, [0, -1]]), "uint8", "uint8"),
            ("Resize", json!({"size": [2, 2]}), json!([x]), "uint8", "uint8"),
            ("Cast", json!({"dtype": "uint8"}), json!([x]), "float32", "uint8"),
            ("Clip", json!({"x_min": 0.5, "x_max": 200}), json!([x]), "uint8", "float"),
        ] {
            assert_eq!(type_of(class, config, arguments, tensors).unwrap().to_string(), expected, "{class}");
        }
    }

    #[test]
    fn what_f32_cannot_hold_is_refused() {
        let x = tensor_argument();
        for (class, config, arguments, tensors) in [
            ("Square", json!({}), json!([x]), "int16"),
            ("Power", json!({}), json!([x, 2]), "uint8"),
            ("Matmul", json!({}), json!([x, x]), "uint8 uint8"),
            ("Subtract", json!({}), json!([x, x]), "uint32 uint32"),
            ("Maximum", json!({}), json!([x, 300]), "uint8"),
            ("FloorDivide", json!({}), json!([x, -3]), "uint8"),
            ("Greater", json!({}), json!([x, 256]), "uint8"),
            ("Where", json!({}), json!([x, x, -1]), "bool uint8"),
            ("Clip", json!({"x_min": -10, "x_max": 200}), json!([x]), "uint8"),
            ("Pad", json!({"pad_width": [[0, 0], [1, 1]], "constant_values": -1}), json!([x]), "uint8"),
            ("FullLike", json!({}), json!([x, 256]), "uint8"),
            ("FullLike", json!({}), json!([x, 0.5]), "uint8"),
        ] {
            let error = type_of(class, config, arguments, tensors).expect_err(class);
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        }
    }

    #[test]
    fn the_classes_are_those_of_operations() {
        let known = |class: &&str| OPERATIONS.iter().any(|(known, ..)| known == class);
        let classes = MOVING.iter().chain(&WITHIN).chain(&COMPARISONS);
        assert_eq!(classes.filter(|class| !known(class)).count(), 0);
    }
}
