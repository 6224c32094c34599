//! The table of TensorFlow's functions and the operations of Keras 3 that compute the same.

use engraft_nn::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};

use super::Call;

const CORE: &str = "keras.src.ops.core";
const IMAGE: &str = "keras.src.ops.image";
const LAYERS: &str = "keras.layers";
const LINALG: &str = "keras.src.ops.linalg";
const MATH: &str = "keras.src.ops.math";
const NN: &str = "keras.src.ops.nn";
const NUMPY: &str = "keras.src.ops.numpy";

/// An operation of Keras 3 and its arguments.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) module: &'static str,
    pub(super) class_name: &'static str,
    pub(super) config: Map<String, Value>,
    pub(super) arguments: Vec<Value>,
    pub(super) keywords: Map<String, Value>,
}

impl Operation {
    fn new(module: &'static str, class_name: &'static str, arguments: Vec<Value>, config: Value) -> Self {
        let config = config.as_object().cloned().unwrap_or_default();
        Self { module, class_name, config, arguments, keywords: Map::new() }
    }
}

/// Functions of one tensor without options.
const UNARY: &[(&str, &str, &str)] = &[
    ("abs", NUMPY, "Absolute"),
    ("identity", NUMPY, "Copy"),
    ("math.abs", NUMPY, "Absolute"),
    ("math.atan", NUMPY, "Arctan"),
    ("math.ceil", NUMPY, "Ceil"),
    ("math.cos", NUMPY, "Cos"),
    ("math.cosh", NUMPY, "Cosh"),
    ("math.erf", MATH, "Erf"),
    ("math.exp", NUMPY, "Exp"),
    ("math.expm1", NUMPY, "Expm1"),
    ("math.floor", NUMPY, "Floor"),
    ("math.is_finite", NUMPY, "Isfinite"),
    ("math.is_nan", NUMPY, "Isnan"),
    ("math.log", NUMPY, "Log"),
    ("math.log1p", NUMPY, "Log1p"),
    ("math.log_sigmoid", NN, "LogSigmoid"),
    ("math.logical_not", NUMPY, "LogicalNot"),
    ("math.negative", NUMPY, "Negative"),
    ("math.reciprocal", NUMPY, "Reciprocal"),
    ("math.rsqrt", MATH, "Rsqrt"),
    ("math.sigmoid", NN, "Sigmoid"),
    ("math.sign", NUMPY, "Sign"),
    ("math.sin", NUMPY, "Sin"),
    ("math.sinh", NUMPY, "Sinh"),
    ("math.softplus", NN, "Softplus"),
    ("math.softsign", NN, "Softsign"),
    ("math.sqrt", NUMPY, "Sqrt"),
    ("math.square", NUMPY, "Square"),
    ("math.tan", NUMPY, "Tan"),
    ("math.tanh", NUMPY, "Tanh"),
    ("nn.relu", NN, "Relu"),
    ("nn.relu6", NN, "Relu6"),
    ("nn.selu", NN, "Selu"),
    ("nn.sigmoid", NN, "Sigmoid"),
    ("nn.softplus", NN, "Softplus"),
    ("nn.softsign", NN, "Softsign"),
    ("nn.tanh", NUMPY, "Tanh"),
    ("sigmoid", NN, "Sigmoid"),
    ("sqrt", NUMPY, "Sqrt"),
    ("stop_gradient", CORE, "StopGradient"),
    ("tanh", NUMPY, "Tanh"),
];

/// Functions of two operands, of which the second is called `y`.
const BINARY: &[(&str, &str)] = &[
    ("__operators__.add", "Add"),
    ("__operators__.eq", "Equal"),
    ("__operators__.ne", "NotEqual"),
    ("compat.v1.floor_div", "FloorDivide"),
    ("compat.v1.math.mod", "Mod"),
    ("compat.v1.mod", "Mod"),
    ("math.add", "Add"),
    ("math.divide", "TrueDivide"),
    ("math.divide_no_nan", "DivideNoNan"),
    ("math.equal", "Equal"),
    ("math.floordiv", "FloorDivide"),
    ("math.floormod", "Mod"),
    ("math.greater", "Greater"),
    ("math.greater_equal", "GreaterEqual"),
    ("math.less", "Less"),
    ("math.less_equal", "LessEqual"),
    ("math.logical_and", "LogicalAnd"),
    ("math.logical_or", "LogicalOr"),
    ("math.maximum", "Maximum"),
    ("math.minimum", "Minimum"),
    ("math.mod", "Mod"),
    ("math.multiply", "Multiply"),
    ("math.not_equal", "NotEqual"),
    ("math.pow", "Power"),
    ("math.subtract", "Subtract"),
    ("math.truediv", "TrueDivide"),
    ("realdiv", "TrueDivide"),
    ("truediv", "TrueDivide"),
];

/// Reductions along axes.
const REDUCTIONS: &[(&str, &str, &str)] = &[
    ("math.reduce_euclidean_norm", LINALG, "Norm"),
    ("math.reduce_logsumexp", MATH, "Logsumexp"),
    ("math.reduce_max", NUMPY, "Max"),
    ("math.reduce_mean", NUMPY, "Mean"),
    ("math.reduce_min", NUMPY, "Min"),
    ("math.reduce_prod", NUMPY, "Prod"),
    ("math.reduce_std", NUMPY, "Std"),
    ("math.reduce_sum", NUMPY, "Sum"),
    ("math.reduce_variance", NUMPY, "Var"),
];

/// Converts a call of one of TensorFlow's functions.
///
/// # Errors
/// A function or an option that isn't known.
pub(super) fn convert(function: &str, mut call: Call) -> Result<Operation> {
    let call = &mut call;
    let operation = if let Some(&(_, module, class_name)) = UNARY.iter().find(|row| row.0 == function) {
        Operation::new(module, class_name, vec![first(call)], json!({}))
    } else if let Some(&(_, class_name)) = BINARY.iter().find(|row| row.0 == function) {
        Operation::new(NUMPY, class_name, vec![array(first(call)), array(call.require("y")?)], json!({}))
    } else if let Some(&(_, module, class_name)) = REDUCTIONS.iter().find(|row| row.0 == function) {
        reduction(module, class_name, call)
    } else {
        match special(function, call)? {
            Some(operation) => operation,
            None => {
                return Err(Error::because("function", "this function of TensorFlow is not known")
                    .with_kind(ErrorKind::Unsupported)
                    .hint("build the model in Keras 3 with layers or keras.ops, and save it again"));
            }
        }
    };
    call.finish()?;
    Ok(operation)
}

/// The first argument.
fn first(call: &Call) -> Value {
    call.first.clone()
}

/// An operand. Keras 3 computes with arrays, but not with lists of numbers.
fn array(operand: Value) -> Value {
    match operand {
        Value::Array(_) => json!({"class_name": "__numpy__", "config": {"value": operand, "dtype": "float32"}}),
        other => other,
    }
}

/// An option that is true or false, false if it is left out. Python takes 1 and 0, too.
fn flag(call: &mut Call, option: &str) -> Result<bool> {
    match call.take(option) {
        None => Ok(false),
        Some(value) if value == true || value == 1 => Ok(true),
        Some(value) if value == false || value == 0 => Ok(false),
        Some(value) => Err(Error::new(option, "true or false", value)),
    }
}

fn reduction(module: &'static str, class_name: &'static str, call: &mut Call) -> Operation {
    let axis = call.take("axis").unwrap_or_default();
    let keepdims = call.take("keepdims").unwrap_or(false.into());
    let mut operation =
        Operation::new(module, class_name, vec![first(call)], json!({"axis": axis, "keepdims": keepdims}));
    // Keras 3 writes all options of a class.
    match class_name {
        "Max" | "Min" => operation.config.insert("initial".into(), Value::Null),
        "Prod" => operation.config.insert("dtype".into(), Value::Null),
        "Norm" => operation.config.insert("ord".into(), Value::Null),
        _ => None,
    };
    operation
}

/// Functions with options of their own; `None` for an unknown function.
fn special(function: &str, call: &mut Call) -> Result<Option<Operation>> {
    let x = first(call);
    let one = |module, class_name, config| Ok(Some(Operation::new(module, class_name, vec![x.clone()], config)));
    match function {
        "nn.silu" => {
            call.expect("beta", &[json!(1.0), json!(1)])?;
            one(NN, "Silu", json!({}))
        }
        "nn.elu" => one(NN, "Elu", json!({"alpha": 1.0})),
        "nn.leaky_relu" => one(NN, "LeakyRelu", json!({"negative_slope": call.take("alpha").unwrap_or(json!(0.2))})),
        "nn.gelu" => one(NN, "Gelu", json!({"approximate": call.take("approximate").unwrap_or(false.into())})),
        "nn.softmax" | "compat.v1.nn.softmax" => {
            one(NN, "Softmax", json!({"axis": call.take("axis").unwrap_or(json!(-1))}))
        }
        "nn.log_softmax" => one(NN, "LogSoftmax", json!({"axis": call.take("axis").unwrap_or(json!(-1))})),
        "nn.bias_add" => {
            call.expect("data_format", &[json!("NHWC"), json!("N...C")])?;
            Ok(Some(Operation::new(NUMPY, "Add", vec![x, array(call.require("bias")?)], json!({}))))
        }
        "clip_by_value" => {
            let (low, high) = (call.require("clip_value_min")?, call.require("clip_value_max")?);
            one(NUMPY, "Clip", json!({"x_min": low, "x_max": high}))
        }
        "zeros_like" | "ones_like" => {
            call.expect("optimize", &[json!(true)])?;
            let class_name = if function == "zeros_like" { "ZerosLike" } else { "OnesLike" };
            one(NUMPY, class_name, json!({"dtype": call.take("dtype")}))
        }
        "linalg.matmul" => {
            for option in ["adjoint_a", "adjoint_b", "a_is_sparse", "b_is_sparse"] {
                call.expect(option, &[json!(false)])?;
            }
            call.expect("output_type", &[])?;
            let transposed = [flag(call, "transpose_a")?, flag(call, "transpose_b")?];
            let arguments = vec![x, array(call.require("b")?)];
            let subscripts = match transposed {
                [false, false] => return Ok(Some(Operation::new(NUMPY, "Matmul", arguments, json!({})))),
                [true, false] => "...ji,...jk->...ik",
                [false, true] => "...ij,...kj->...ik",
                [true, true] => "...ji,...kj->...ik",
            };
            Ok(Some(Operation::new(NUMPY, "Einsum", arguments, json!({"subscripts": subscripts}))))
        }
        "cast" => one(CORE, "Cast", json!({"dtype": call.require("dtype")?})),
        "math.round" => one(NUMPY, "Round", json!({"decimals": 0})),
        "math.l2_normalize" | "nn.l2_normalize" => {
            // TensorFlow bounds the sum of squares, Keras the norm.
            let epsilon = call.take("epsilon").and_then(|epsilon| epsilon.as_f64()).unwrap_or(1e-12).sqrt();
            one(NN, "Normalize", json!({"axis": call.take("axis"), "order": 2, "epsilon": epsilon}))
        }
        // No operation of Keras 3 does these; layers do.
        "math.add_n" => one(LAYERS, "Add", json!({})),
        "keras.backend.batch_flatten" => one(LAYERS, "Flatten", json!({})),
        "where" | "compat.v1.where_v2" => {
            let (yes, no) = (array(call.require("x")?), array(call.require("y")?));
            Ok(Some(Operation::new(NUMPY, "Where", vec![x, yes, no], json!({}))))
        }
        _ => match arrangement(function, x.clone(), call)? {
            Some(operation) => Ok(Some(operation)),
            None => image(function, x, call),
        },
    }
}

/// Functions that move values.
fn arrangement(function: &str, x: Value, call: &mut Call) -> Result<Option<Operation>> {
    let one = |module, class_name, config| Ok(Some(Operation::new(module, class_name, vec![x.clone()], config)));
    match function {
        "concat" => one(NUMPY, "Concatenate", json!({"axis": call.require("axis")?})),
        "stack" => one(NUMPY, "Stack", json!({"axis": call.take("axis").unwrap_or(json!(0))})),
        "expand_dims" => one(NUMPY, "ExpandDims", json!({"axis": call.require("axis")?})),
        "squeeze" | "compat.v1.squeeze" => {
            let axis = call.take("axis").or(call.take("squeeze_dims"));
            one(NUMPY, "Squeeze", json!({"axis": axis}))
        }
        "reshape" => one(NUMPY, "Reshape", json!({"newshape": new_shape(call.require("shape")?)})),
        "transpose" | "compat.v1.transpose" => {
            call.expect("conjugate", &[json!(false)])?;
            one(NUMPY, "Transpose", json!({"axes": call.take("perm")}))
        }
        "tile" => one(NUMPY, "Tile", json!({"repeats": call.require("multiples")?})),
        "repeat" => {
            let (repeats, axis) = (call.require("repeats")?, call.take("axis"));
            one(NUMPY, "Repeat", json!({"repeats": repeats, "axis": axis}))
        }
        "reverse" => one(NUMPY, "Flip", json!({"axis": call.require("axis")?})),
        "roll" => {
            let (shift, axis) = (call.require("shift")?, call.require("axis")?);
            one(NUMPY, "Roll", json!({"shift": shift, "axis": axis}))
        }
        "gather" | "compat.v1.gather" => {
            call.expect("batch_dims", &[json!(0)])?;
            call.expect("validate_indices", &[])?;
            let (indices, axis) = (call.require("indices")?, call.take("axis").unwrap_or(json!(0)));
            Ok(Some(Operation::new(NUMPY, "Take", vec![x, indices], json!({"axis": axis}))))
        }
        "pad" | "compat.v1.pad" => {
            let mode = call.take("mode").and_then(|mode| mode.as_str().map(str::to_lowercase));
            let mode = mode.unwrap_or_else(|| "constant".to_owned());
            let value = call.take("constant_values").filter(|_| mode == "constant");
            let config = json!({"pad_width": call.require("paddings")?, "mode": mode});
            let mut operation = Operation::new(NUMPY, "Pad", vec![x], config);
            operation.keywords.insert("constant_values".into(), value.unwrap_or_default());
            Ok(Some(operation))
        }
        "__operators__.getitem" => {
            let key = index(call.require_index()?);
            Ok(Some(Operation::new(NUMPY, "GetItem", vec![x, key], json!({}))))
        }
        "slice" => {
            let key = slice_key(&call.require("begin")?, &call.require("size")?)?;
            Ok(Some(Operation::new(NUMPY, "GetItem", vec![x, key], json!({}))))
        }
        "split" => {
            call.expect("num", &[])?;
            let sections = sections(call.require("num_or_size_splits")?)?;
            let axis = call.take("axis").unwrap_or(json!(0));
            one(NUMPY, "Split", json!({"indices_or_sections": sections, "axis": axis}))
        }
        "unstack" => {
            let axis = call.take("axis").unwrap_or(json!(0));
            one(CORE, "Unstack", json!({"num": call.take("num"), "axis": axis}))
        }
        _ => Ok(None),
    }
}

/// Functions on images.
fn image(function: &str, x: Value, call: &mut Call) -> Result<Option<Operation>> {
    let one = |module, class_name, config| Ok(Some(Operation::new(module, class_name, vec![x.clone()], config)));
    let channels_last = json!("channels_last");
    match function {
        "image.resize" => {
            call.expect("preserve_aspect_ratio", &[json!(false)])?;
            let size = call.require("size")?;
            let interpolation = call.take("method").unwrap_or(json!("bilinear"));
            let antialias = call.take("antialias").unwrap_or(json!(false));
            let config = json!({
                "size": size, "interpolation": interpolation, "antialias": antialias, "crop_to_aspect_ratio": false,
                "pad_to_aspect_ratio": false, "fill_mode": "constant", "fill_value": 0.0, "data_format": channels_last,
            });
            one(IMAGE, "Resize", config)
        }
        "image.rgb_to_grayscale" => one(IMAGE, "RGBToGrayscale", json!({"data_format": channels_last})),
        "image.flip_left_right" => one(NUMPY, "Flip", json!({"axis": 2})),
        "image.flip_up_down" => one(NUMPY, "Flip", json!({"axis": 1})),
        "image.crop_to_bounding_box" => {
            let config = json!({
                "top_cropping": call.require("offset_height")?, "left_cropping": call.require("offset_width")?,
                "bottom_cropping": null, "right_cropping": null, "target_height": call.require("target_height")?,
                "target_width": call.require("target_width")?, "data_format": channels_last,
            });
            one(IMAGE, "CropImages", config)
        }
        "image.pad_to_bounding_box" => {
            let config = json!({
                "top_padding": call.require("offset_height")?, "left_padding": call.require("offset_width")?,
                "bottom_padding": null, "right_padding": null, "target_height": call.require("target_height")?,
                "target_width": call.require("target_width")?, "data_format": channels_last,
            });
            one(IMAGE, "PadImages", config)
        }
        "nn.max_pool" | "nn.max_pool2d" => one(NN, "MaxPool", pooling(call)?),
        "nn.avg_pool" | "nn.avg_pool2d" => one(NN, "AveragePool", pooling(call)?),
        "image.extract_patches" => {
            let mut pair = |name| call.require(name).map(window);
            let (size, strides, dilation) = (pair("sizes")?, pair("strides")?, pair("rates")?);
            let padding = call.require("padding")?.as_str().map(str::to_lowercase);
            let config = json!({
                "size": size, "strides": strides, "dilation_rate": dilation, "padding": padding, "data_format": channels_last,
            });
            one(IMAGE, "ExtractPatches", config)
        }
        "nn.space_to_depth" | "nn.depth_to_space" => {
            call.expect("data_format", &[json!("NHWC")])?;
            let class_name = if function == "nn.space_to_depth" { "SpaceToDepth" } else { "DepthToSpace" };
            one(NN, class_name, json!({"block_size": call.require("block_size")?, "data_format": channels_last}))
        }
        _ => Ok(None),
    }
}

/// Height and width of `[1, height, width, 1]`; `[height, width]` or a number stays.
fn window(value: Value) -> Value {
    match value.as_array().map(Vec::as_slice) {
        Some([one, height, width, channels]) if *one == 1 && *channels == 1 => json!([height, width]),
        _ => value,
    }
}

/// The options of a pooling.
fn pooling(call: &mut Call) -> Result<Value> {
    call.expect("data_format", &[json!("NHWC")])?;
    let padding = call.require("padding")?.as_str().map(str::to_lowercase);
    let (size, strides) = (window(call.require("ksize")?), window(call.require("strides")?));
    Ok(json!({"pool_size": size, "strides": strides, "padding": padding, "data_format": "channels_last"}))
}

/// A new shape whose batch size is -1, or null beside another -1.
fn new_shape(mut shape: Value) -> Value {
    if let Some([batch @ Value::Null, sample @ ..]) = shape.as_array_mut().map(Vec::as_mut_slice)
        && sample.iter().all(|size| *size != -1)
    {
        *batch = json!(-1);
    }
    shape
}

impl Call {
    /// Removes the index of a slicing operation. Null alone is an index, too: a new axis.
    fn require_index(&mut self) -> Result<Value> {
        self.options.remove("slice_spec").ok_or_else(|| Error::new("slice_spec", "an index", "none"))
    }
}

/// An index in the form of Keras 3.
fn index(spec: Value) -> Value {
    match spec {
        Value::Array(list) => list.into_iter().map(index).collect(),
        Value::Object(object) if object.get("class_name").is_some_and(|class| class == "__ellipsis__") => {
            json!({"class_name": "__ellipsis__", "config": {}})
        }
        Value::Object(range) => json!({"class_name": "__slice__", "config": range}),
        other => other,
    }
}

/// The index that selects `size` elements from `begin` on; -1 selects all that follow.
fn slice_key(begin: &Value, size: &Value) -> Result<Value> {
    let wrong = || Error::new("begin and size", "as many integers", format_args!("{begin} and {size}"));
    let (Some(begins), Some(sizes)) = (begin.as_array(), size.as_array()) else { return Err(wrong()) };
    if begins.len() != sizes.len() {
        return Err(wrong());
    }
    let range = |(begin, size): (&Value, &Value)| {
        let begin = begin.as_i64()?;
        // The whole batch starts at 0 and has an open size.
        let stop = match size {
            Value::Null => None,
            size => match size.as_i64()? {
                -1 => None,
                size => Some(begin.checked_add(size)?),
            },
        };
        let start = (begin != 0).then_some(begin);
        Some(json!({"class_name": "__slice__", "config": {"start": start, "stop": stop, "step": null}}))
    };
    begins.iter().zip(sizes).map(range).collect::<Option<Value>>().ok_or_else(wrong)
}

/// The sections of a split: a number of equal ones, or the bounds between ones of given sizes.
fn sections(splits: Value) -> Result<Value> {
    let Value::Array(sizes) = &splits else { return Ok(splits) };
    let wrong = || Error::new("num_or_size_splits", "a number or sizes", &splits).with_kind(ErrorKind::Unsupported);
    let mut end = 0u64;
    let mut bounds = Vec::with_capacity(sizes.len());
    for size in sizes {
        end = size.as_u64().and_then(|size| end.checked_add(size)).ok_or_else(wrong)?;
        bounds.push(json!(end));
    }
    // The last section ends where the tensor ends.
    bounds.pop();
    Ok(Value::Array(bounds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(function: &str, options: Value) -> Operation {
        let call = Call { first: json!("x"), options: options.as_object().unwrap().clone() };
        convert(function, call).unwrap()
    }

    #[test]
    fn options_have_the_names_of_keras_3() {
        for (function, options, class_name, config) in [
            ("math.reduce_mean", json!({"axis": [1, 2]}), "Mean", json!({"axis": [1, 2], "keepdims": false})),
            ("nn.leaky_relu", json!({"alpha": 0.1}), "LeakyRelu", json!({"negative_slope": 0.1})),
            ("nn.gelu", json!({}), "Gelu", json!({"approximate": false})),
            ("math.l2_normalize", json!({"axis": -1}), "Normalize", json!({"axis": -1, "order": 2, "epsilon": 1e-6})),
            (
                "compat.v1.transpose",
                json!({"perm": [0, 2, 1], "conjugate": false}),
                "Transpose",
                json!({"axes": [0, 2, 1]}),
            ),
            (
                "split",
                json!({"num_or_size_splits": [1, 2, 3], "axis": 1}),
                "Split",
                json!({"indices_or_sections": [1, 3], "axis": 1}),
            ),
            (
                "nn.max_pool2d",
                json!({"ksize": [1, 2, 3, 1], "strides": 2, "padding": "SAME"}),
                "MaxPool",
                json!({"pool_size": [2, 3], "strides": 2, "padding": "same", "data_format": "channels_last"}),
            ),
            (
                "image.extract_patches",
                json!({"sizes": [1, 4, 2, 1], "strides": [1, 4, 2, 1], "rates": [1, 1, 1, 1], "padding": "VALID"}),
                "ExtractPatches",
                json!({"size": [4, 2], "strides": [4, 2], "dilation_rate": [1, 1], "padding": "valid", "data_format": "channels_last"}),
            ),
            ("zeros_like", json!({"dtype": null}), "ZerosLike", json!({"dtype": null})),
            ("reshape", json!({"shape": [null, -1]}), "Reshape", json!({"newshape": [null, -1]})),
        ] {
            let found = converted(function, options);
            assert_eq!((found.class_name, Value::Object(found.config)), (class_name, config));
        }
    }

    #[test]
    fn arguments_follow_the_tensor() {
        let pad =
            converted("compat.v1.pad", json!({"paddings": [[0, 0], [1, 2]], "mode": "REFLECT", "constant_values": 0}));
        assert_eq!((&pad.config["mode"], &pad.keywords["constant_values"]), (&json!("reflect"), &Value::Null));
        let bias = json!({"class_name": "__numpy__", "config": {"value": [1.0, 2.0], "dtype": "float32"}});
        assert_eq!(converted("nn.bias_add", json!({"bias": [1.0, 2.0]})).arguments, [json!("x"), bias]);
        assert_eq!(converted("where", json!({"x": 1.0, "y": "z"})).arguments, [json!("x"), json!(1.0), json!("z")]);
        let slice = |start: Value, stop: Value| json!({"class_name": "__slice__", "config": {"start": start, "stop": stop, "step": null}});
        let found = converted("slice", json!({"begin": [0, 1], "size": [-1, 2]}));
        assert_eq!(found.arguments[1], json!([slice(Value::Null, Value::Null), slice(json!(1), json!(3))]));
    }
}
