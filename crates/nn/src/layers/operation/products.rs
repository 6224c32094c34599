//! Products of tensors: `matmul`, `dot`, `tensordot`, `einsum` and `dot_product_attention`.

use engraft_ir::{Op, ValueId};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::attention::{Attend, MaskOptions};
use super::super::einsum::{Equation, Label, contract, of_sample};
use super::super::rearranged::{multiplied, permuted, reshaped, scaled};
use super::arithmetic::NoOptions;
use super::constant::Constant;
use super::{excerpt, is_tensor, options, received};
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::size_limits::check_size;
use crate::{Error, Result};

/// Checks that the arguments of a call are `count` tensors.
fn tensors(arguments: &[Value], count: usize) -> Result<()> {
    if arguments.len() == count && arguments.iter().all(is_tensor) {
        return Ok(());
    }
    Err(Error::new("arguments", format_args!("{count} tensors"), received(arguments)))
}

/// Defines the parts of a layer that an operation doesn't use.
macro_rules! only_computes {
    () => {
        fn class_name(&self) -> &'static str {
            "Product"
        }

        fn config(&self) -> Map<String, Value> {
            Map::new()
        }
    };
}

/// The matrix products of two operands along their last axes. One of them may be a constant.
#[derive(Debug)]
struct MatrixProduct {
    left: Option<Constant>,
    right: Option<Constant>,
}

pub(super) fn matmul(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    let product = match arguments {
        [a, b] if is_tensor(a) && is_tensor(b) => MatrixProduct { left: None, right: None },
        [a, b] if is_tensor(a) => MatrixProduct { left: None, right: Some(Constant::read(b)?) },
        [a, b] if is_tensor(b) => MatrixProduct { left: Some(Constant::read(a)?), right: None },
        _ => return Err(Error::new("arguments", "two tensors, or a tensor and a constant", received(arguments))),
    };
    Ok(Box::new(product))
}

/// `dot(x, matrix)`, with a constant matrix.
pub(super) fn dot(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    times_matrix(arguments)
}

/// `tensordot(x, matrix, axes)` along the last axis of `x` and the first of a constant matrix.
pub(super) fn tensordot(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        axes: Value,
    }
    let Options { axes } = options(config)?;
    match axes.as_i64() {
        Some(1) => times_matrix(arguments),
        _ => {
            Err(Error::new("axes", "1: the last axis of the tensor and the first of a constant matrix", excerpt(&axes)))
        }
    }
}

/// The product of a tensor and a constant matrix along the last axis of the tensor.
fn times_matrix(arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    let matrix = match arguments {
        [x, matrix] if is_tensor(x) && !is_tensor(matrix) => Constant::read(matrix)?,
        _ => return Err(Error::new("arguments", "a tensor and a constant matrix", received(arguments))),
    };
    match matrix.shape.len() {
        2 => Ok(Box::new(MatrixProduct { left: None, right: Some(matrix) })),
        _ => Err(Error::new("constant", "a matrix", format_args!("shape {:?}", matrix.shape))),
    }
}

impl MatrixProduct {
    /// The shapes of the two operands, without the batch axis.
    fn operands(&self, inputs: &[Shape]) -> Result<[Shape; 2]> {
        match (&self.left, &self.right, inputs) {
            (None, None, [a, b]) => Ok([a.clone(), b.clone()]),
            (Some(constant), None, [b]) => Ok([constant_matrices(constant, b)?, b.clone()]),
            // Each sample is a row.
            (None, Some(constant), [a]) if a.len() == 1 && constant.shape.len() == 2 => {
                Ok([vec![1, a[0]], constant.shape.clone()])
            }
            (None, Some(constant), [a]) => Ok([a.clone(), constant_matrices(constant, a)?]),
            _ => Err(Error::new("inputs", "as many tensors as in the call", inputs.len())),
        }
    }

    /// The shapes of both operands with leading axes of size 1, so that they have as many axes.
    fn aligned(&self, inputs: &[Shape]) -> Result<[Shape; 2]> {
        let [a, b] = self.operands(inputs)?;
        let rank = a.len().max(b.len());
        let aligned = [&a, &b]
            .map(|shape| std::iter::repeat_n(1, rank - shape.len()).chain(shape.iter().copied()).collect::<Shape>());
        let [left, right] = &aligned;
        let fits = a.len() >= 2
            && b.len() >= 2
            && left[rank - 1] == right[rank - 2]
            && left[..rank - 2].iter().zip(&right[..rank - 2]).all(|(&a, &b)| a == b || a == 1 || b == 1);
        if fits {
            return Ok(aligned);
        }
        Err(Error::new(
            "inputs",
            "matrices that can be multiplied: [.., m, k] and [.., k, n]",
            format_args!("{a:?} and {b:?}"),
        ))
    }

    /// The shape of the products of aligned operands.
    fn product(inputs: &[Shape], [a, b]: &[Shape; 2]) -> Shape {
        let leading = a.len() - 2;
        let mut shape: Shape = a[..leading].iter().zip(&b[..leading]).map(|(&a, &b)| a.max(b)).collect();
        let is_row = inputs.iter().all(|input| input.len() == 1);
        shape.extend((!is_row).then_some(a[leading]).into_iter().chain([b[leading + 1]]));
        shape
    }
}

/// The shape of constant matrices for each sample, which has the shape `x`.
///
/// # Errors
/// Other matrices for each sample of a batch, or more axes than the other operand has.
fn constant_matrices(constant: &Constant, x: &Shape) -> Result<Shape> {
    match constant.shape.as_slice() {
        [1, matrices @ ..] if matrices.len() == x.len() && x.len() >= 2 => Ok(matrices.to_vec()),
        matrices if matrices.len() <= x.len() => Ok(matrices.to_vec()),
        matrices => {
            let expected = format!("a constant that is the same for all samples, which have the shape {x:?}");
            Err(Error::new("constant", expected, format_args!("shape {matrices:?}")))
        }
    }
}

impl LayerDef for MatrixProduct {
    only_computes!();

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(Self::product(inputs, &self.aligned(inputs)?))
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shapes: Vec<Shape> = inputs.iter().map(|&input| to.shape(input).clone()).collect();
        let aligned = self.aligned(&shapes)?;
        let mut tensors = inputs.iter().copied();
        let mut operands = Vec::with_capacity(2);
        for (constant, shape) in [&self.left, &self.right].into_iter().zip(&aligned) {
            operands.push(match constant {
                Some(constant) => {
                    let op = Op::Constant { values: constant.values.clone().into() };
                    to.push_with(op, &[], shape.clone(), 0..0)
                }
                None => {
                    let tensor =
                        tensors.next().ok_or_else(|| Error::new("inputs", "as many as in the call", "fewer"))?;
                    reshaped(to, tensor, shape.clone())
                }
            });
        }
        let product = multiplied(to, operands[0], operands[1], false);
        Ok(reshaped(to, product, Self::product(&shapes, &aligned)))
    }
}

/// An einsum of two tensors, each of which has the batch as its first axis.
#[derive(Debug)]
struct Einsum {
    equation: String,
}

pub(super) fn einsum(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        subscripts: String,
    }
    let Options { subscripts } = options(config)?;
    tensors(arguments, 2)?;
    Ok(Box::new(Einsum { equation: subscripts }))
}

impl Einsum {
    fn equation(&self, left: &Shape, right: &Shape) -> Result<Equation> {
        let equation = Equation::parse(&self.equation, left.len() + 1)?;
        if equation.right.first() != equation.left.first() {
            return Err(Error::new("subscripts", "the batch as the first axis of both operands", &self.equation));
        }
        if equation.right.len() != right.len() + 1 {
            return Err(Error::new(
                "inputs",
                format_args!("the axes of `{}`", self.equation),
                format_args!("{right:?}"),
            ));
        }
        Ok(equation)
    }
}

impl LayerDef for Einsum {
    only_computes!();

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [left, right] = inputs else { return Err(Error::new("inputs", "two", inputs.len())) };
        let equation = self.equation(left, right)?;
        let roles = equation.roles()?;
        // The batch has the same size in both operands.
        let sizes = equation.sizes(&[&[1], left.as_slice()].concat(), &[&[1], right.as_slice()].concat())?;
        Ok(roles.output.iter().map(|label| sizes[label]).collect())
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let [left, right] = [inputs[0], inputs[1]].map(|input| to.shape(input).clone());
        let equation = self.equation(&left, &right)?;
        let sizes = equation.sizes(&[&[1], left.as_slice()].concat(), &[&[1], right.as_slice()].concat())?;
        let sample = |labels: &[Label]| of_sample(labels, equation.left.first());
        let labels = [sample(&equation.left), sample(&equation.right)];
        Ok(contract(to, [inputs[0], inputs[1]], [&labels[0], &labels[1]], &equation.roles()?, &sizes))
    }
}

/// Attention of several heads: `[places, heads, width]` for query, key and value.
#[derive(Debug)]
struct DotProductAttention {
    causal: bool,
}

pub(super) fn dot_product_attention(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        #[serde(default)]
        is_causal: bool,
        #[serde(default, rename = "flash_attention")]
        _flash_attention: Option<bool>,
        #[serde(default)]
        attn_logits_soft_cap: Option<f64>,
    }
    // Whether the attention is computed in one pass doesn't change what is computed.
    let Options { is_causal, attn_logits_soft_cap, .. } = options(config)?;
    if let Some(cap) = attn_logits_soft_cap {
        return Err(Error::new("attn_logits_soft_cap", "none", cap));
    }
    tensors(arguments, 3)?;
    Ok(Box::new(DotProductAttention { causal: is_causal }))
}

impl DotProductAttention {
    fn mask(&self) -> MaskOptions<'_> {
        MaskOptions { causal: self.causal, ..MaskOptions::default() }
    }
}

impl LayerDef for DotProductAttention {
    only_computes!();

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let shapes: Vec<&[usize]> = inputs.iter().map(Vec::as_slice).collect();
        match shapes[..] {
            [&[queries, heads, width], &[keys, key_heads, key_width], &[values, value_heads, features]]
                if keys == values
                    && width == key_width
                    && key_heads == value_heads
                    && key_heads > 0
                    && heads % key_heads == 0 =>
            {
                check_size("attention scores", &[heads, queries, keys])?;
                self.mask().mask(queries, keys)?;
                Ok(vec![queries, heads, features])
            }
            _ => {
                Err(Error::new("inputs", "query, key and value of [places, heads, width]", format_args!("{inputs:?}")))
            }
        }
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let [query, key, value] = [0, 1, 2].map(|index| to.shape(inputs[index]).clone());
        let (queries, heads, keys, groups) = (query[0], query[1], key[0], key[1]);
        let q = scaled(to, inputs[0], 1.0 / (query[2] as f32).sqrt(), 0.0);
        // Heads of the query share those of key and value in groups of equal size.
        let mut split = |x: ValueId, sizes: [usize; 4]| {
            let x = reshaped(to, x, sizes);
            permuted(to, x, vec![1, 2, 0, 3])
        };
        let q = split(q, [queries, groups, heads / groups, query[2]]);
        let k = split(inputs[1], [keys, groups, 1, key[2]]);
        let v = split(inputs[2], [keys, groups, 1, value[2]]);
        let scores = multiplied(to, q, k, true);
        let mask = self.mask().mask(queries, keys)?;
        let attend = Attend { mask, zeros_without_keys: false, dropout: 0.0, seed: None };
        let y = attend.lower(to, scores, v);
        let y = permuted(to, y, vec![2, 0, 1, 3]);
        Ok(reshaped(to, y, [queries, heads, value[2]]))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::{Input, operation_from_config, tensor_argument};
    use crate::prelude::*;

    fn shape(class_name: &str, config: Value, shapes: &[&[usize]]) -> Result<Shape> {
        let mut config = config.as_object().unwrap().clone();
        config.insert("name".into(), json!("f"));
        let inputs: Vec<SymbolicTensor> = shapes.iter().map(|&shape| Input::new(shape)).collect();
        let arguments = vec![tensor_argument(); shapes.len()];
        operation_from_config(class_name, config, arguments)?.call(&inputs[..]).map(|y| y.shape().clone())
    }

    #[test]
    fn shapes_are_those_of_keras() {
        let einsum = |subscripts: &str, shapes: &[&[usize]]| shape("Einsum", json!({"subscripts": subscripts}), shapes);
        assert_eq!(shape("Matmul", json!({}), &[&[4, 6], &[6, 5]]).unwrap(), [4, 5]);
        assert_eq!(shape("Matmul", json!({}), &[&[3, 4, 6], &[6, 5]]).unwrap(), [3, 4, 5]);
        assert_eq!(einsum("bij,bjk->bik", &[&[4, 6], &[6, 5]]).unwrap(), [4, 5]);
        assert_eq!(einsum("bhwc,bhvc->bhwv", &[&[2, 4, 6], &[2, 5, 6]]).unwrap(), [2, 4, 5]);
        let heads: [&[usize]; 3] = [&[4, 6, 8], &[5, 2, 8], &[5, 2, 3]];
        let attention = |causal| json!({"is_causal": causal, "flash_attention": null, "attn_logits_soft_cap": null});
        assert_eq!(shape("DotProductAttention", attention(true), &heads).unwrap(), [4, 6, 3]);
    }

    #[test]
    fn an_operand_may_be_a_constant() {
        let product = |class: &str, config: Value, arguments: Vec<Value>, shape: &[usize]| {
            let product = operation_from_config(class, config.as_object().unwrap().clone(), arguments)?;
            product.call(&Input::new(shape)).map(|y| y.shape().clone())
        };
        let constant = |shape: &[usize]| {
            let value = shape.iter().rev().fold(json!(0.5), |inner, &size| json!(vec![inner; size]));
            json!({"class_name": "__numpy__", "config": {"value": value, "dtype": "float32"}})
        };
        let x = tensor_argument();
        let right =
            |matrix: &[usize], shape: &[usize]| product("Matmul", json!({}), vec![x.clone(), constant(matrix)], shape);
        let left =
            |matrix: &[usize], shape: &[usize]| product("Matmul", json!({}), vec![constant(matrix), x.clone()], shape);
        assert_eq!(right(&[3, 2], &[4, 6, 3]).unwrap(), [4, 6, 2]);
        assert_eq!(right(&[3, 2], &[3]).unwrap(), [2], "each sample is a row");
        assert_eq!(right(&[1, 4, 3, 2], &[4, 6, 3]).unwrap(), [4, 6, 2]);
        assert_eq!(left(&[5, 6], &[4, 6, 3]).unwrap(), [4, 5, 3]);
        assert_eq!(product("Dot", json!({}), vec![x.clone(), constant(&[3, 2])], &[4, 3]).unwrap(), [4, 2]);
        let tensordot =
            |axes: Value| product("Tensordot", json!({"axes": axes}), vec![x.clone(), constant(&[3, 2])], &[4, 3]);
        assert_eq!(tensordot(json!(1)).unwrap(), [4, 2]);
        for (result, expected) in [
            (right(&[2, 6, 3, 2], &[6, 6, 3]), "the same for all samples"),
            (right(&[1, 3, 2], &[3]), "the same for all samples"),
            (left(&[5, 3], &[3]), "the same for all samples"),
            (right(&[4, 2], &[4, 6, 3]), "matrices that can be multiplied"),
            (tensordot(json!(2)), "axes: expected 1"),
            (
                product("Dot", json!({}), vec![x.clone(), json!([1, 2, 3])], &[4, 3]),
                "expected a matrix, received shape [3]",
            ),
            (product("Dot", json!({}), vec![constant(&[3, 2]); 2], &[4]), "received an array, an array"),
        ] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (class, config, shapes, expected) in [
            ("Matmul", json!({}), &[&[4, 6][..], &[5, 6]][..], "matrices that can be multiplied"),
            ("Matmul", json!({}), &[&[6], &[6, 5]], "matrices that can be multiplied"),
            ("Einsum", json!({"subscripts": "bij,jk->bik"}), &[&[4, 6], &[6]], "the batch as the first axis of both"),
            ("Einsum", json!({"subscripts": "bij,bjk->bik"}), &[&[4, 6], &[5, 5]], "shapes that fit the equation"),
            ("Einsum", json!({"subscripts": "bij,bjk->bik"}), &[&[4, 6], &[6]], "the axes of"),
            ("Einsum", json!({"subscripts": "bij->bij"}), &[&[4, 6]], "2 tensors"),
            ("DotProductAttention", json!({"attn_logits_soft_cap": 2.0}), &[&[4, 2, 3][..]; 3], "attn_logits_soft_cap"),
            ("DotProductAttention", json!({}), &[&[4, 2, 3], &[4, 3, 3], &[4, 3, 3]], "query, key and value of"),
        ] {
            let error = shape(class, config, shapes).unwrap_err().to_string();
            assert!(error.contains(expected), "{class}: {error}");
        }
    }
}
