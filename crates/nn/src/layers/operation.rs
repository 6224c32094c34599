//! Keras' operations on symbolic tensors, such as `x[..., 0]`, `x / 127.5` or `keras.ops.stack(…)`.
//!
//! They are part of a functional model's graph, but Keras doesn't count them as layers. An [`Operation`] holds Keras' class,
//! config and arguments for writing files, and an equivalent layer for computing.

mod arithmetic;
mod constant;
mod functions;
mod get_item;
mod rearrange;

use engraft_ir::ValueId;
use serde_json::{Map, Value, json};

use super::Flip;
use crate::Shape;
use crate::layer::{Layer, LayerDef};
use crate::lowering::Lowering;
use crate::{Error, ErrorKind, Result};

const NUMPY: &str = "keras.src.ops.numpy";
const NN: &str = "keras.src.ops.nn";

/// Creates the layer that computes an operation, from the operation's config and the arguments of its call.
type LayerFactory = fn(&Map<String, Value>, &[Value]) -> Result<Box<dyn LayerDef>>;

/// Every supported operation: Keras' class, its module, and the factory of the equivalent layer.
const OPERATIONS: &[(&str, &str, LayerFactory)] = &[
    ("Add", NUMPY, arithmetic::add),
    ("Cast", "keras.src.ops.core", functions::cast),
    ("Concatenate", NUMPY, rearrange::concatenate),
    ("Divide", NUMPY, arithmetic::divide),
    ("Elu", NN, functions::elu),
    ("ExpandDims", NUMPY, rearrange::expand_dims),
    ("Flip", NUMPY, rearrange::flip),
    ("Gelu", NN, functions::gelu),
    ("GetItem", NUMPY, get_item::get_item),
    ("LeakyRelu", NN, functions::leaky_relu),
    ("Max", NUMPY, functions::max),
    ("Mean", NUMPY, functions::mean),
    ("Multiply", NUMPY, arithmetic::multiply),
    ("Negative", NUMPY, arithmetic::negative),
    ("ReLU", "keras.src.activations.activations", functions::relu_with_options),
    ("Relu", NN, functions::relu),
    ("Relu6", NN, functions::relu6),
    ("Reshape", NUMPY, rearrange::reshape),
    ("Resize", "keras.src.ops.image", functions::resize),
    ("Sigmoid", NN, functions::sigmoid),
    ("Silu", NN, functions::silu),
    ("Softmax", NN, functions::softmax),
    ("Squeeze", NUMPY, rearrange::squeeze),
    ("Stack", NUMPY, rearrange::stack),
    ("Subtract", NUMPY, arithmetic::subtract),
    ("Tanh", NUMPY, functions::tanh),
    ("Transpose", NUMPY, rearrange::transpose),
    ("TrueDivide", NUMPY, arithmetic::divide),
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
pub fn operation_from_config(class_name: &str, mut config: Map<String, Value>, arguments: Vec<Value>) -> Result<Layer> {
    let Some(Value::String(name)) = config.remove("name") else {
        return Err(Error::new(format_args!("operation {class_name}"), "a name", "none"));
    };
    let place = format!("operation `{name}` ({class_name})");
    let Some(&(class_name, module, create)) = OPERATIONS.iter().find(|(class, ..)| *class == class_name) else {
        let supported: Vec<&str> = OPERATIONS.iter().map(|(class, ..)| *class).collect();
        return Err(Error::because(place, "this operation is not known")
            .with_kind(ErrorKind::Unsupported)
            .hint(format_args!("supported: {}; an equivalent layer may do instead", supported.join(", "))));
    };
    let unsupported = |error: Error| error.within(place).with_kind(ErrorKind::Unsupported);
    let implementation = create(&config, &arguments).map_err(unsupported)?;
    Ok(Layer::new(Operation { class_name, module, config, arguments, implementation }, Some(name)))
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

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        self.implementation.output_shape(inputs)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        self.implementation.lower(to, inputs)
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
        _ => Err(Error::new("arguments", "one tensor", Value::from(arguments))),
    }
}

/// Checks that the only argument of a call is a list of tensors.
fn list_of_tensors(arguments: &[Value]) -> Result<()> {
    match arguments {
        [Value::Array(tensors)] if !tensors.is_empty() && tensors.iter().all(is_tensor) => Ok(()),
        _ => Err(Error::new("arguments", "a list of tensors", Value::from(arguments))),
    }
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
    fn what_is_not_supported_is_named() {
        let x = tensor_argument();
        for (class, config, arguments, expected) in [
            ("Einsum", json!({}), json!([x]), "operation `f` (Einsum): this operation is not known"),
            ("Relu", json!({"slope": 1}), json!([x]), "unknown field `slope`"),
            ("Relu", json!({}), json!([x, 2]), "expected one tensor"),
            ("Stack", json!({"axis": 0}), json!([[x, x]]), "0 is the batch"),
            ("TrueDivide", json!({}), json!([1.0, x]), "a tensor divided by a constant"),
            ("Add", json!({}), json!([x, {"class_name": "Lambda"}]), "a number or an array"),
            ("Mean", json!({"axis": [1], "keepdims": false}), json!([x]), "[1, 2]"),
        ] {
            let error = operation(class, config, arguments).and_then(|f| {
                let x = Input::new([4, 4, 3]);
                f.call([&x, &x])
            });
            let error = error.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
