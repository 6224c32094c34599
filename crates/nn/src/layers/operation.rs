//! Keras' operations on symbolic tensors, such as `x[..., 0]`, `x / 127.5` or `keras.ops.stack(…)`.
//!
//! They are part of a functional model's graph, but Keras doesn't count them as layers. An [`Operation`] holds Keras' class,
//! config and arguments for writing files, and an equivalent layer for computing.

mod arithmetic;
mod axes;
mod constant;
mod dtypes;
mod filled;
mod functions;
mod get_item;
mod image;
mod list;
mod patches;
mod products;
mod rearrange;
mod reductions;
mod stop_gradient;

use std::any::Any;

use engraft_ir::{Activation, Binary, Reduction, Unary, ValueId};
use serde_json::{Map, Value, json};

use super::expression;
use crate::Shape;
use crate::layer::Layer;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Error, ErrorKind, Result, naming};

pub(super) use arithmetic::where_true;
pub use list::ListOutput;
pub(super) use reductions::l2_normalized;

const CORE: &str = "keras.src.ops.core";
const IMAGE: &str = "keras.src.ops.image";
const LINALG: &str = "keras.src.ops.linalg";
const MATH: &str = "keras.src.ops.math";
const NN: &str = "keras.src.ops.nn";
const NUMPY: &str = "keras.src.ops.numpy";

/// Creates the layer that computes an operation, from the operation's config and the arguments of its call.
type Create = fn(&Map<String, Value>, &[Value]) -> Result<Box<dyn LayerDef>>;

/// How the layer that computes an operation is created from the operation's config and the arguments of its call.
#[derive(Clone, Copy)]
enum Factory {
    /// A function of each element of one tensor, without options.
    Unary(Unary),
    /// The function, times a constant.
    Scaled(Unary, f32),
    /// An activation of one tensor, without options.
    Activation(Activation),
    /// A function of two operands, each a tensor or a constant.
    Binary(Binary),
    /// A reduction along axes.
    Reduce(Reduction),
    Other(Create),
}

impl Factory {
    fn create(self, config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
        match self {
            Self::Unary(function) => functions::unary(function, config, arguments),
            Self::Scaled(function, factor) => functions::scaled(function, factor, config, arguments),
            Self::Activation(function) => functions::activation(function, config, arguments),
            Self::Binary(function) => arithmetic::binary(function, config, arguments),
            Self::Reduce(reduction) => reductions::reduce(reduction, config, arguments),
            Self::Other(create) => create(config, arguments),
        }
    }
}

/// Every supported operation: Keras' class, its module, and the factory of the equivalent layer.
const OPERATIONS: &[(&str, &str, Factory)] = &[
    ("Abs", NUMPY, Factory::Unary(Unary::Absolute)),
    ("Absolute", NUMPY, Factory::Unary(Unary::Absolute)),
    ("Add", NUMPY, Factory::Binary(Binary::Add)),
    ("Amax", NUMPY, Factory::Reduce(Reduction::Max)),
    ("Amin", NUMPY, Factory::Reduce(Reduction::Min)),
    ("Append", NUMPY, Factory::Other(rearrange::append)),
    ("Arctan", NUMPY, Factory::Unary(Unary::Arctan)),
    ("Average", NUMPY, Factory::Other(reductions::average)),
    ("AveragePool", NN, Factory::Other(functions::average_pool)),
    ("BroadcastTo", NUMPY, Factory::Other(rearrange::broadcast_to)),
    ("Cast", CORE, Factory::Other(functions::cast)),
    ("Ceil", NUMPY, Factory::Unary(Unary::Ceil)),
    ("Celu", NN, Factory::Other(functions::celu)),
    ("Clip", NUMPY, Factory::Other(functions::clip)),
    ("Concatenate", NUMPY, Factory::Other(rearrange::concatenate)),
    ("ConvertToTensor", CORE, Factory::Other(functions::convert_to_tensor)),
    ("Copy", NUMPY, Factory::Other(functions::identity)),
    ("Cos", NUMPY, Factory::Unary(Unary::Cos)),
    ("Cosh", NUMPY, Factory::Unary(Unary::Cosh)),
    ("CropImages", IMAGE, Factory::Other(image::crop)),
    ("DepthToSpace", NN, Factory::Other(image::depth_to_space)),
    ("Divide", NUMPY, Factory::Binary(Binary::Divide)),
    ("DivideNoNan", NUMPY, Factory::Other(arithmetic::divide_no_nan)),
    ("Dot", NUMPY, Factory::Other(products::dot)),
    ("DotProductAttention", NN, Factory::Other(products::dot_product_attention)),
    ("Einsum", NUMPY, Factory::Other(products::einsum)),
    ("Elu", NN, Factory::Other(functions::elu)),
    ("Equal", NUMPY, Factory::Binary(Binary::Equal)),
    ("Erf", MATH, Factory::Unary(Unary::Erf)),
    ("Erfc", MATH, Factory::Other(functions::erfc)),
    ("Exp", NUMPY, Factory::Activation(Activation::Exponential)),
    ("Exp2", NUMPY, Factory::Other(functions::exp2)),
    ("ExpandDims", NUMPY, Factory::Other(rearrange::expand_dims)),
    ("Expm1", NUMPY, Factory::Unary(Unary::Expm1)),
    ("ExtractPatches", IMAGE, Factory::Other(patches::extract_patches)),
    ("Fabs", NUMPY, Factory::Unary(Unary::Absolute)),
    ("Flip", NUMPY, Factory::Other(rearrange::flip)),
    ("Floor", NUMPY, Factory::Unary(Unary::Floor)),
    ("FloorDivide", NUMPY, Factory::Binary(Binary::FloorDivide)),
    ("FullLike", NUMPY, Factory::Other(filled::full_like)),
    ("Gelu", NN, Factory::Other(functions::gelu)),
    ("GetItem", NUMPY, Factory::Other(get_item::get_item)),
    ("Glu", NN, Factory::Other(functions::glu)),
    ("Greater", NUMPY, Factory::Binary(Binary::Greater)),
    ("GreaterEqual", NUMPY, Factory::Binary(Binary::GreaterEqual)),
    ("HardShrink", NN, Factory::Other(functions::hard_shrink)),
    ("HardSigmoid", NN, Factory::Activation(Activation::HardSigmoid)),
    ("HardSilu", NN, Factory::Activation(Activation::HardSilu)),
    ("HardTanh", NN, Factory::Unary(Unary::Clip { low: -1.0, high: 1.0 })),
    ("Hstack", NUMPY, Factory::Other(rearrange::hstack)),
    ("Isfinite", NUMPY, Factory::Unary(Unary::IsFinite)),
    ("Isnan", NUMPY, Factory::Unary(Unary::IsNan)),
    ("LeakyRelu", NN, Factory::Other(functions::leaky_relu)),
    ("Less", NUMPY, Factory::Binary(Binary::Less)),
    ("LessEqual", NUMPY, Factory::Binary(Binary::LessEqual)),
    ("Log", NUMPY, Factory::Unary(Unary::Log)),
    ("Log10", NUMPY, Factory::Scaled(Unary::Log, std::f32::consts::LOG10_E)),
    ("Log1p", NUMPY, Factory::Unary(Unary::Log1p)),
    ("Log2", NUMPY, Factory::Scaled(Unary::Log, std::f32::consts::LOG2_E)),
    ("LogSigmoid", NN, Factory::Other(functions::log_sigmoid)),
    ("LogSoftmax", NN, Factory::Other(reductions::log_softmax)),
    ("LogicalAnd", NUMPY, Factory::Other(arithmetic::logical_and)),
    ("LogicalNot", NUMPY, Factory::Other(functions::logical_not)),
    ("LogicalOr", NUMPY, Factory::Other(arithmetic::logical_or)),
    ("LogicalXor", NUMPY, Factory::Other(arithmetic::logical_xor)),
    ("Logsumexp", MATH, Factory::Other(reductions::logsumexp)),
    ("Matmul", NUMPY, Factory::Other(products::matmul)),
    ("Max", NUMPY, Factory::Reduce(Reduction::Max)),
    ("MaxPool", NN, Factory::Other(functions::max_pool)),
    ("Maximum", NUMPY, Factory::Binary(Binary::Maximum)),
    ("Mean", NUMPY, Factory::Reduce(Reduction::Mean)),
    ("Min", NUMPY, Factory::Reduce(Reduction::Min)),
    ("Minimum", NUMPY, Factory::Binary(Binary::Minimum)),
    ("Mod", NUMPY, Factory::Binary(Binary::Mod)),
    ("Moveaxis", NUMPY, Factory::Other(rearrange::moveaxis)),
    ("Multiply", NUMPY, Factory::Binary(Binary::Multiply)),
    ("NanToNum", NUMPY, Factory::Other(functions::nan_to_num)),
    ("Negative", NUMPY, Factory::Unary(Unary::Negative)),
    ("Norm", LINALG, Factory::Other(reductions::norm)),
    ("Normalize", NN, Factory::Other(reductions::normalize)),
    ("NotEqual", NUMPY, Factory::Binary(Binary::NotEqual)),
    ("OnesLike", NUMPY, Factory::Other(filled::ones_like)),
    ("Pad", NUMPY, Factory::Other(rearrange::pad)),
    ("PadImages", IMAGE, Factory::Other(image::pad)),
    ("Power", NUMPY, Factory::Binary(Binary::Power)),
    ("Prod", NUMPY, Factory::Reduce(Reduction::Prod)),
    ("RGBToGrayscale", IMAGE, Factory::Other(image::rgb_to_grayscale)),
    ("ReLU", "keras.src.activations.activations", Factory::Other(functions::relu_with_options)),
    ("Reciprocal", NUMPY, Factory::Unary(Unary::Reciprocal)),
    ("Relu", NN, Factory::Activation(Activation::Relu)),
    ("Relu6", NN, Factory::Activation(Activation::Relu6)),
    ("Repeat", NUMPY, Factory::Other(rearrange::repeat)),
    ("Reshape", NUMPY, Factory::Other(rearrange::reshape)),
    ("Resize", IMAGE, Factory::Other(image::resize)),
    ("Roll", NUMPY, Factory::Other(rearrange::roll)),
    ("Round", NUMPY, Factory::Other(functions::round)),
    ("Rsqrt", MATH, Factory::Unary(Unary::Rsqrt)),
    ("Selu", NN, Factory::Activation(Activation::Selu)),
    ("Sigmoid", NN, Factory::Activation(Activation::Sigmoid)),
    ("Sign", NUMPY, Factory::Unary(Unary::Sign)),
    ("Silu", NN, Factory::Activation(Activation::Silu)),
    ("Sin", NUMPY, Factory::Unary(Unary::Sin)),
    ("Sinh", NUMPY, Factory::Unary(Unary::Sinh)),
    ("SoftShrink", NN, Factory::Other(functions::soft_shrink)),
    ("Softmax", NN, Factory::Other(reductions::softmax)),
    ("Softplus", NN, Factory::Activation(Activation::Softplus)),
    ("Softsign", NN, Factory::Activation(Activation::Softsign)),
    ("SpaceToDepth", NN, Factory::Other(image::space_to_depth)),
    ("Split", NUMPY, Factory::Other(list::split)),
    ("Sqrt", NUMPY, Factory::Unary(Unary::Sqrt)),
    ("Square", NUMPY, Factory::Unary(Unary::Square)),
    ("Squareplus", NN, Factory::Other(functions::squareplus)),
    ("Squeeze", NUMPY, Factory::Other(rearrange::squeeze)),
    ("Stack", NUMPY, Factory::Other(rearrange::stack)),
    ("Std", NUMPY, Factory::Other(reductions::std)),
    ("StopGradient", CORE, Factory::Other(stop_gradient::stop_gradient)),
    ("Subtract", NUMPY, Factory::Binary(Binary::Subtract)),
    ("Sum", NUMPY, Factory::Reduce(Reduction::Sum)),
    ("Swapaxes", NUMPY, Factory::Other(rearrange::swapaxes)),
    ("Take", NUMPY, Factory::Other(rearrange::take)),
    ("Tan", NUMPY, Factory::Unary(Unary::Tan)),
    ("Tanh", NUMPY, Factory::Activation(Activation::Tanh)),
    ("TanhShrink", NN, Factory::Other(functions::tanh_shrink)),
    ("Tensordot", NUMPY, Factory::Other(products::tensordot)),
    ("Threshold", NN, Factory::Other(functions::threshold)),
    ("Tile", NUMPY, Factory::Other(rearrange::tile)),
    ("Transpose", NUMPY, Factory::Other(rearrange::transpose)),
    ("TrueDivide", NUMPY, Factory::Binary(Binary::Divide)),
    ("Trunc", NUMPY, Factory::Unary(Unary::Truncate)),
    ("Unstack", CORE, Factory::Other(list::unstack)),
    ("Var", NUMPY, Factory::Other(reductions::var)),
    ("Where", NUMPY, Factory::Other(arithmetic::select)),
    ("ZerosLike", NUMPY, Factory::Other(filled::zeros_like)),
];

/// An operation in a functional model's graph: Keras' class and config, with a layer that computes it.
///
/// ```
/// use engraft_nn::layers::{Operation, operation_from_config, tensor_argument};
/// let config = serde_json::json!({"name": "relu"});
/// let relu = operation_from_config("Relu", config.as_object().unwrap().clone(), vec![tensor_argument()])?;
/// assert!(relu.def_as::<Operation>().is_some());
/// // The module shows that this isn't a layer.
/// assert_eq!(relu.def().module(), "keras.src.ops.nn");
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Debug)]
pub struct Operation {
    class_name: &'static str,
    module: &'static str,
    config: Map<String, Value>,
    arguments: Vec<Value>,
    keywords: Map<String, Value>,
    implementation: Box<dyn LayerDef>,
}

/// A placeholder for a tensor in the arguments of [`operation_from_config`].
///
/// ```
/// use engraft_nn::layers::{operation_from_config, tensor_argument};
/// // x / 127.5
/// let config = serde_json::json!({"name": "true_divide"});
/// let arguments = vec![tensor_argument(), 127.5.into()];
/// let divide = operation_from_config("TrueDivide", config.as_object().unwrap().clone(), arguments)?;
/// let x = engraft_nn::layers::Input::new([4, 4, 3]);
/// assert_eq!(divide.call(&x)?.shape(), &[4, 4, 3]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub fn tensor_argument() -> Value {
    json!({"class_name": "__keras_tensor__"})
}

fn is_tensor(argument: &Value) -> bool {
    argument.get("class_name").is_some_and(|class| class == "__keras_tensor__")
}

/// Creates an operation from its Keras class, its config and the arguments of its call.
///
/// The arguments contain constants as Keras writes them, and [`tensor_argument`] for each tensor.
///
/// ```
/// use engraft_nn::layers::{Input, operation_from_config, tensor_argument};
/// // keras.ops.concatenate([a, b], axis=-1)
/// let config = serde_json::json!({"name": "concatenate", "axis": -1});
/// let arguments = vec![vec![tensor_argument(), tensor_argument()].into()];
/// let concatenate = operation_from_config("Concatenate", config.as_object().unwrap().clone(), arguments)?;
/// let (a, b) = (Input::new([4]), Input::new([3]));
/// assert_eq!(concatenate.call([&a, &b])?.shape(), &[7]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
///
/// # Errors
/// A class, an option or a constant that isn't supported. The error names it and the operation.
pub fn operation_from_config(class_name: &str, config: Map<String, Value>, arguments: Vec<Value>) -> Result<Layer> {
    operation_from_call(class_name, config, arguments, Map::new())
}

/// Creates an operation as [`operation_from_config`] does, from a call with keyword arguments, which are constants.
///
/// ```
/// use engraft_nn::layers::{Input, operation_from_call, tensor_argument};
/// // keras.ops.pad(x, [[0, 0], [1, 2]], constant_values=9)
/// let config = serde_json::json!({"name": "pad", "pad_width": [[0, 0], [1, 2]], "mode": "constant"});
/// let keywords = serde_json::json!({"constant_values": 9});
/// let [config, keywords] = [config, keywords].map(|object| object.as_object().unwrap().clone());
/// let pad = operation_from_call("Pad", config, vec![tensor_argument()], keywords)?;
/// assert_eq!(pad.call(&Input::new([4]))?.shape(), &[7]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
///
/// # Errors
/// Those of [`operation_from_config`].
pub fn operation_from_call(
    class_name: &str,
    mut config: Map<String, Value>,
    arguments: Vec<Value>,
    keywords: Map<String, Value>,
) -> Result<Layer> {
    let name = match config.remove("name") {
        Some(Value::String(name)) => name,
        // Keras writes no names of a few operations, and gives these automatic ones.
        None => naming::auto_name(class_name),
        Some(other) => return Err(Error::new(format_args!("operation {class_name}"), "a name", other)),
    };
    let place = format!("operation `{name}` ({class_name})");
    let Some(&(class_name, module, factory)) = OPERATIONS.iter().find(|(class, ..)| *class == class_name) else {
        let supported: Vec<&str> = OPERATIONS.iter().map(|(class, ..)| *class).collect();
        return Err(Error::because(place, "this operation is not known")
            .with_kind(ErrorKind::Unsupported)
            .hint(format_args!("supported: {}; an equivalent layer may do instead", supported.join(", "))));
    };
    // An option of the call has no other meaning than an option of the config. Null stands for an option that isn't given.
    let mut options = config.clone();
    options.extend(
        keywords.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), value.clone())),
    );
    let unsupported = |error: Error| error.within(place).with_kind(ErrorKind::Unsupported);
    let implementation = factory.create(&options, &arguments).map_err(unsupported)?;
    Ok(Layer::new(Operation { class_name, module, config, arguments, keywords, implementation }, Some(name)))
}

/// An operation that Keras' operators on symbolic tensors create, such as `x + 3`: without options, with an automatic name.
///
/// The arguments are those of [`operation_from_config`].
///
/// ```
/// use engraft_nn::layers::{Input, operator, tensor_argument};
/// engraft_nn::clear_session();
/// let x = Input::new([4]);
/// let y = operator("Add", vec![tensor_argument(), 3.0.into()])?.call(&x)?;
/// let z = operator("Add", vec![tensor_argument(), tensor_argument()])?.call([&x, &y])?;
/// assert_eq!((y.layer().name(), z.layer().name()), ("add", "add_1"));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
///
/// # Errors
/// A class or a constant that isn't supported. The error names it and the operation.
pub fn operator(class_name: &str, arguments: Vec<Value>) -> Result<Layer> {
    let config = Map::from_iter([("name".to_owned(), naming::auto_name(class_name).into())]);
    operation_from_config(class_name, config, arguments)
}

impl Operation {
    fn list(&self) -> Option<&list::List> {
        let implementation: &dyn Any = &*self.implementation;
        implementation.downcast_ref()
    }

    /// The shapes of all tensors that the operation returns for an input of this shape; `None` if it returns a single tensor.
    pub(crate) fn list_shapes(&self, input: &Shape) -> Option<Result<Vec<Shape>>> {
        Some(self.list()?.shapes(input))
    }
}

impl LayerDef for Operation {
    fn class_name(&self) -> &'static str {
        self.class_name
    }

    fn module(&self) -> &'static str {
        self.module
    }

    fn config(&self) -> Map<String, Value> {
        self.config.clone()
    }

    fn call_arguments(&self, tensors: Vec<Value>) -> Vec<Value> {
        let mut tensors = tensors.into_iter();
        self.arguments.iter().map(|argument| with_tensors(argument, &mut tensors)).collect()
    }

    fn keyword_arguments(&self) -> Map<String, Value> {
        self.keywords.clone()
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        self.implementation.output_shape(inputs)
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        dtypes::of(self, inputs)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let value = self.implementation.lower(to, inputs)?;
        let dtypes = to.input_dtypes().to_vec();
        match self.class_name {
            "Cast" | "ConvertToTensor" => {
                expression::push_converted(to, value, DType::common(&dtypes), self.output_dtype(&dtypes)?)
            }
            "Add" | "Multiply" | "Negative" | "Square" | "Subtract" => {
                expression::push_wrapped(to, value, self.output_dtype(&dtypes)?)
            }
            _ => Ok(value),
        }
    }
}

/// A copy of a call's argument in which each placeholder of a tensor, also inside lists, is replaced by the next of `tensors`. Constants
/// stay.
fn with_tensors(argument: &Value, tensors: &mut impl Iterator<Item = Value>) -> Value {
    match argument {
        Value::Array(list) => list.iter().map(|argument| with_tensors(argument, tensors)).collect(),
        placeholder if is_tensor(placeholder) => tensors.next().unwrap_or(Value::Null),
        constant => constant.clone(),
    }
}

/// Checks that the only argument of a call is a tensor.
fn one_tensor(arguments: &[Value]) -> Result<()> {
    match arguments {
        [tensor] if is_tensor(tensor) => Ok(()),
        _ => Err(Error::new("arguments", "one tensor", received(arguments))),
    }
}

/// Checks that the only argument of a call is a list of tensors.
fn list_of_tensors(arguments: &[Value]) -> Result<()> {
    match arguments {
        [Value::Array(tensors)] if !tensors.is_empty() && tensors.iter().all(is_tensor) => Ok(()),
        _ => Err(Error::new("arguments", "a list of tensors", received(arguments))),
    }
}

/// The arguments of a call for an error.
fn received(arguments: &[Value]) -> String {
    arguments.iter().map(described).collect::<Vec<_>>().join(", ")
}

/// One argument for an error: `a tensor`, `an array`, or the first characters of another value.
fn described(argument: &Value) -> String {
    match argument.get("class_name").and_then(Value::as_str) {
        Some("__keras_tensor__") => "a tensor".to_owned(),
        Some("__numpy__" | "__tensor__") => "an array".to_owned(),
        _ => excerpt(argument),
    }
}

/// The first 200 characters of a value as JSON.
fn excerpt(value: &Value) -> String {
    let mut text = value.to_string();
    if let Some((end, _)) = text.char_indices().nth(200) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Deserializes an operation's config into a struct of its options.
fn options<T: serde::de::DeserializeOwned>(config: &Map<String, Value>) -> Result<T> {
    serde_json::from_value(Value::Object(config.clone())).map_err(|error| Error::from_source("config", error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Input;

    fn operation(class_name: &str, config: Value, arguments: Value) -> Result<Layer> {
        let mut config = config.as_object().unwrap().clone();
        config.insert("name".into(), json!("f"));
        operation_from_config(class_name, config, arguments.as_array().unwrap().clone())
    }

    #[test]
    fn a_call_is_written_with_its_constants() {
        let x = tensor_argument();
        let subtract = operation("Subtract", json!({}), json!([1.0, x])).unwrap();
        assert_eq!(subtract.def().call_arguments(vec![json!("a")]), [json!(1.0), json!("a")]);
        let stack = operation("Stack", json!({"axis": -1}), json!([[x, x]])).unwrap();
        assert_eq!(stack.def().call_arguments(vec![json!("a"), json!("b")]), [json!(["a", "b"])]);
        assert_eq!((stack.def().module(), stack.def().config().get("axis")), (NUMPY, Some(&json!(-1))));
    }

    #[test]
    fn keywords_are_options_and_are_written_again() {
        let config = json!({"name": "pad", "pad_width": [[0, 0], [1, 0]], "mode": "constant"});
        let call = |keywords: Value| {
            let [config, keywords] = [&config, &keywords].map(|object| object.as_object().unwrap().clone());
            operation_from_call("Pad", config, vec![tensor_argument()], keywords)
        };
        let pad = call(json!({"constant_values": null})).unwrap();
        assert_eq!(pad.def().keyword_arguments(), *json!({"constant_values": null}).as_object().unwrap());
        assert!(!pad.def().config().contains_key("constant_values"));
        assert_eq!(pad.call(&Input::new([3])).unwrap().shape(), &[4]);
        let error = call(json!({"edge": 1})).unwrap_err().to_string();
        assert!(error.contains("unknown field `edge`"), "{error}");
    }

    #[test]
    fn shapes_of_results() {
        let x = tensor_argument();
        let one = json!([x]);
        for (class, config, arguments, expected) in [
            ("Mean", json!({"axis": -1, "keepdims": true}), one.clone(), vec![4, 5, 1]),
            ("Sum", json!({"axis": [1, -1], "keepdims": false}), one.clone(), vec![5]),
            ("Std", json!({"axis": [2], "keepdims": false}), one.clone(), vec![4, 3]),
            ("Logsumexp", json!({"axis": 1, "keepdims": false}), one.clone(), vec![5, 3]),
            ("Reshape", json!({"newshape": [null, -1]}), one.clone(), vec![60]),
            ("Moveaxis", json!({"source": [-1], "destination": [1]}), one.clone(), vec![3, 4, 5]),
            ("Swapaxes", json!({"axis1": 1, "axis2": -1}), one.clone(), vec![3, 5, 4]),
            ("ExpandDims", json!({"axis": [1, -1]}), one.clone(), vec![1, 4, 5, 3, 1]),
            ("Repeat", json!({"repeats": [1, 0, 3], "axis": -1}), one.clone(), vec![4, 5, 4]),
            ("Tile", json!({"repeats": [2, 1, 3]}), one.clone(), vec![8, 5, 9]),
            (
                "Pad",
                json!({"pad_width": [[0, 0], [1, 2], [0, 1], [0, 0]], "mode": "symmetric"}),
                one.clone(),
                vec![7, 6, 3],
            ),
            ("Take", json!({"axis": -1}), json!([x, 1]), vec![4, 5]),
            ("Take", json!({"axis": 1}), json!([x, [[0, -1], [1, 1]]]), vec![2, 2, 5, 3]),
            ("SpaceToDepth", json!({"block_size": 2, "data_format": "channels_last"}), one.clone(), vec![]),
            ("Glu", json!({"axis": 1}), one.clone(), vec![2, 5, 3]),
            ("Power", json!({}), json!([2.0, x]), vec![4, 5, 3]),
            ("Add", json!({}), json!([x, [[[1.0]], [[2.0]], [[3.0]], [[4.0]]]]), vec![4, 5, 3]),
            ("Where", json!({}), json!([x, 1.0, x]), vec![4, 5, 3]),
        ] {
            let layer = operation(class, config, arguments.clone()).unwrap();
            let input = Input::new([4, 5, 3]);
            let tensors = arguments.as_array().unwrap().iter().filter(|argument| is_tensor(argument)).count();
            match layer.call(&vec![input; tensors][..]) {
                Ok(y) => assert_eq!(y.shape(), &expected, "{class}"),
                Err(error) => assert!(expected.is_empty() && error.to_string().contains("multiples of 2"), "{error}"),
            }
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let x = tensor_argument();
        for (class, config, arguments, expected) in [
            ("Arctan2", json!({}), json!([x, x]), "operation `f` (Arctan2): this operation is not known"),
            ("Relu", json!({"slope": 1}), json!([x]), "unknown field `slope`"),
            ("Relu", json!({}), json!([x, 2]), "expected one tensor"),
            ("Stack", json!({"axis": 0}), json!([[x, x]]), "0 is the batch"),
            ("Add", json!({}), json!([x, {"class_name": "Lambda"}]), "a number or an array"),
            ("Mean", json!({"axis": null, "keepdims": false}), json!([x]), "null, which includes the batch"),
            ("Mean", json!({"axis": [0, 1], "keepdims": false}), json!([x]), "0 is the batch"),
            ("Reshape", json!({"newshape": [-1, -1]}), json!([x]), "-1 or null for the batch"),
            ("Transpose", json!({"axes": [1, 0, 2, 3]}), json!([x]), "0, the batch, first"),
            ("Take", json!({"axis": 1}), json!([x, [4]]), "-4 to 3 along an axis of 4"),
            ("Pad", json!({"pad_width": 1, "mode": "constant"}), json!([x]), "[0, 0] for the batch"),
            ("Pad", json!({"pad_width": [[0, 0], [0, 0], [0, 4], [0, 0]], "mode": "reflect"}), json!([x]), "at most 3"),
            ("Cast", json!({"dtype": "complex64"}), json!([x]), "a type of floats, integers or booleans"),
        ] {
            let tensors = arguments.to_string().matches("__keras_tensor__").count();
            let error =
                operation(class, config, arguments).and_then(|f| f.call(&vec![Input::new([4, 4, 3]); tensors][..]));
            let error = error.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
