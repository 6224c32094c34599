//! `EinsumDense`: a dense layer along any axes.

use std::collections::HashMap;

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::einsum::{Equation, Label, Roles, arranged, contract, of_sample, result};
use super::options::{config_of, single};
use super::rearranged::{reshaped, scaled};
use crate::Shape;
use crate::activation::ActivationFn;
use crate::keras_object::Unset;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::weight::WeightSpec;
use crate::{Constraint, Error, ErrorKind, Initializer, Regularizer, Result, constraint, initializer, regularizer};

/// A dense layer along the axes that an einsum equation names (Keras' `EinsumDense`).
///
/// The kernel has an axis for each letter of the equation's second operand, and the bias one for each letter of `bias_axes`. The
/// options of a file for LoRA, `lora_rank` and `lora_alpha`, are kept as those of [`Dense`](super::Dense).
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_nn::layers::EinsumDense;
/// // The token mixing of an MLP-Mixer: along the patches, axis `b`.
/// let x = Input::new([196, 64]);
/// let y = EinsumDense::new("abc,bd->adc", [128, 64]).call(&x)?;
/// assert_eq!((y.shape(), y.layer().weights()[0].shape()), (&vec![128, 64], &[196, 128][..]));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EinsumDense {
    equation: String,
    output_shape: Sizes,
    #[serde(default)]
    activation: ActivationFn,
    #[serde(default)]
    bias_axes: Option<String>,
    #[serde(default = "initializer::kernel_default", with = "initializer::object")]
    kernel_initializer: Initializer,
    #[serde(default = "Initializer::zeros", with = "initializer::object")]
    bias_initializer: Initializer,
    #[serde(default, with = "regularizer::object")]
    kernel_regularizer: Option<Regularizer>,
    #[serde(default, with = "regularizer::object")]
    bias_regularizer: Option<Regularizer>,
    #[serde(default, with = "regularizer::object")]
    activity_regularizer: Option<Regularizer>,
    #[serde(default, with = "constraint::object")]
    kernel_constraint: Option<Constraint>,
    #[serde(default, with = "constraint::object")]
    bias_constraint: Option<Constraint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lora_rank: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lora_alpha: Option<Number>,
    #[serde(default, skip_serializing, rename = "gptq_unpacked_column_size")]
    _gptq_unpacked_column_size: Unset,
    /// The settings of quantized weights, which are dequantized when they are read.
    #[serde(default, skip_serializing, rename = "quantization_config")]
    _quantization_config: Value,
}

/// The sizes of the result, of which those of the input's axes may be unknown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "a size or a list of sizes")]
enum Sizes {
    One(usize),
    List(Vec<Option<usize>>),
}

impl EinsumDense {
    /// A layer that computes `equation` of the input and its kernel. `output_shape` has the sizes of the result's axes after the
    /// batch and after axes of `...`.
    pub fn new(equation: impl Into<String>, output_shape: impl Into<Vec<usize>>) -> Self {
        Self {
            equation: equation.into(),
            output_shape: Sizes::List(output_shape.into().into_iter().map(Some).collect()),
            activation: ActivationFn::Linear,
            bias_axes: None,
            kernel_initializer: Initializer::glorot_uniform(),
            bias_initializer: Initializer::zeros(),
            kernel_regularizer: None,
            bias_regularizer: None,
            activity_regularizer: None,
            kernel_constraint: None,
            bias_constraint: None,
            lora_rank: None,
            lora_alpha: None,
            _gptq_unpacked_column_size: Unset,
            _quantization_config: Value::Null,
        }
    }

    /// Sets the activation function of the result; linear by default.
    #[must_use]
    pub fn activation(mut self, activation: ActivationFn) -> Self {
        self.activation = activation;
        self
    }

    /// Sets the axes of the result that get a bias, as letters of the equation; none by default.
    #[must_use]
    pub fn bias_axes(mut self, bias_axes: impl Into<String>) -> Self {
        self.bias_axes = Some(bias_axes.into());
        self
    }

    /// The equation with the sizes of all its axes, for samples of this shape.
    fn resolved(&self, sample: &Shape) -> Result<Resolved> {
        let equation = Equation::parse(&self.equation, sample.len() + 1)?;
        let roles = equation.roles()?;
        let batch = equation.left.first().copied();
        if equation.right.contains(batch.as_ref().unwrap_or(&Label::Elided(0))) {
            return Err(Error::because("equation", "the kernel has no batch").with_kind(ErrorKind::Unsupported));
        }
        let mut sizes: HashMap<Label, usize> =
            of_sample(&equation.left, batch.as_ref()).into_iter().zip(sample.iter().copied()).collect();
        let own: Vec<Option<usize>> = match &self.output_shape {
            Sizes::One(size) => vec![Some(*size)],
            Sizes::List(sizes) => sizes.clone(),
        };
        // `output_shape` leaves out the batch and the axes of `...`.
        let named = roles.output.iter().filter(|label| matches!(label, Label::Letter(_)));
        let wrong = || {
            let expected = format!("the sizes of the result of `{}` after the batch", self.equation);
            Error::new("output_shape", expected, format_args!("{own:?} for an input {sample:?}"))
        };
        if named.clone().count() != own.len() {
            return Err(wrong());
        }
        for (label, size) in named.zip(&own) {
            match (sizes.get(label), *size) {
                (Some(known), Some(size)) if *known != size => return Err(wrong()),
                (None, Some(size)) => _ = sizes.insert(*label, size),
                (None, None) => return Err(wrong()),
                _ => {}
            }
        }
        Ok(Resolved { equation, roles, sizes })
    }

    /// The shape of the bias: from the first of its axes in the result on, with 1 for axes without a bias.
    fn bias_shape(&self, resolved: &Resolved) -> Result<Option<Shape>> {
        let Some(axes) = &self.bias_axes else { return Ok(None) };
        let output = &resolved.roles.output;
        let has_bias = |label: &Label| matches!(label, Label::Letter(letter) if axes.contains(*letter));
        let known = |letter: char| output.contains(&Label::Letter(letter));
        let first = output.iter().position(has_bias).filter(|_| axes.chars().all(known));
        let Some(first) = first else {
            let expected = format!("axes of the result of `{}`, without the batch", self.equation);
            return Err(Error::new("bias_axes", expected, format_args!("`{axes}`")).with_kind(ErrorKind::Unsupported));
        };
        Ok(Some(output[first..].iter().map(|label| if has_bias(label) { resolved.sizes[label] } else { 1 }).collect()))
    }
}

/// An equation with the sizes of its labels, without the batch.
struct Resolved {
    equation: Equation,
    roles: Roles,
    sizes: HashMap<Label, usize>,
}

impl Resolved {
    fn shape(&self, labels: &[Label]) -> Shape {
        labels.iter().map(|label| self.sizes[label]).collect()
    }

    /// The labels of the input's axes after the batch.
    fn input(&self) -> Vec<Label> {
        of_sample(&self.equation.left, self.equation.left.first())
    }

    /// Whether the kernel is a matrix from the contracted axes to the new ones as it is stored.
    fn has_matrix_kernel(&self) -> bool {
        let matrix = [self.roles.contracted.as_slice(), &self.roles.right].concat();
        self.roles.shared.is_empty() && self.equation.right == matrix
    }

    /// Whether a bias along `axes` is one of the units of a matrix kernel.
    fn bias_is_of_units(&self, axes: &str) -> bool {
        let units: Vec<Label> =
            self.roles.output.iter().filter(|label| self.roles.right.contains(label)).copied().collect();
        let has_bias = |label: &Label| matches!(label, Label::Letter(letter) if axes.contains(*letter));
        units == self.roles.right && self.roles.output.iter().all(|label| has_bias(label) == units.contains(label))
    }
}

impl LayerDef for EinsumDense {
    fn class_name(&self) -> &'static str {
        "EinsumDense"
    }

    fn config(&self) -> Map<String, Value> {
        let mut config = config_of(self);
        if self.activity_regularizer.is_none() {
            // Keras writes it only where it is set.
            config.remove("activity_regularizer");
        }
        config
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let resolved = self.resolved(single(inputs)?)?;
        self.bias_shape(&resolved)?;
        Ok(resolved.shape(&resolved.roles.output))
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let resolved = self.resolved(single(inputs)?)?;
        let shape = resolved.shape(&resolved.equation.right);
        // Saturation only matters for sizes that the check of the shape refuses.
        let size = |labels: &[Label]| {
            resolved.shape(labels).into_iter().fold(1, |size: usize, axis| size.saturating_mul(axis))
        };
        let kernel = WeightSpec {
            name: "kernel".into(),
            initializer: self.kernel_initializer.with_fans(
                &shape,
                size(&resolved.roles.contracted),
                size(&resolved.roles.right),
            ),
            shape,
            trainable: true,
            regularizer: self.kernel_regularizer.clone(),
            constraint: self.kernel_constraint.clone(),
        };
        let bias = self.bias_shape(&resolved)?.map(|shape| WeightSpec {
            name: "bias".into(),
            shape,
            initializer: self.bias_initializer.clone(),
            trainable: true,
            regularizer: self.bias_regularizer.clone(),
            constraint: self.bias_constraint.clone(),
        });
        Ok(std::iter::once(kernel).chain(bias).collect())
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        to.penalize_output(self.activity_regularizer.as_ref());
        let x = inputs[0];
        let resolved = self.resolved(to.shape(x))?;
        let Resolved { roles, sizes, .. } = &resolved;
        let bias = self.bias_axes.as_deref();
        let matrix = resolved.has_matrix_kernel();
        let bias_in_product = matrix && bias.is_some_and(|axes| resolved.bias_is_of_units(axes));
        let mut y = if matrix {
            let rows = arranged(to, x, &resolved.input(), &[&roles.left, &roles.contracted]);
            let mut shape = to.shape(rows).clone();
            shape[1] = resolved.shape(&roles.right).iter().product();
            let y = to.push_with(Op::Dense, &[rows], shape, 0..1 + usize::from(bias_in_product));
            result(to, y, &[roles.left.as_slice(), &roles.right].concat(), &roles.output, sizes)
        } else {
            let kernel = to.push_with(Op::Parameter, &[x], resolved.shape(&resolved.equation.right), 0..1);
            contract(to, [x, kernel], [&resolved.input(), &resolved.equation.right], roles, sizes)
        };
        if bias.is_some() && !bias_in_product {
            y = with_bias(to, y);
        }
        Ok(to.activate(self.activation, y))
    }
}

/// The value plus the layer's second weight, which is broadcast along its axes of size 1.
fn with_bias(to: &mut Lowering<'_>, y: ValueId) -> ValueId {
    let shape = to.shape(y).clone();
    let own = to.own_weights()[1].shape().to_vec();
    let bias = to.push_with(Op::Parameter, &[y], own.clone(), 1..2);
    let padded: Shape = std::iter::repeat_n(1, shape.len() - own.len()).chain(own).collect();
    let bias = reshaped(to, bias, padded);
    // Only a product is broadcast, so the bias multiplies ones.
    let ones = scaled(to, y, 0.0, 1.0);
    let bias = to.push_with(Op::Multiply, &[ones, bias], shape.clone(), 0..0);
    to.push_with(Op::Add, &[y, bias], shape, 0..0)
}

#[cfg(test)]
mod tests {
    use crate::layers::EinsumDense;
    use crate::prelude::*;

    #[test]
    fn shapes_follow_from_the_equation() {
        let x = Input::new([4, 6, 8]);
        for (equation, output, shape, kernel) in [
            ("abcd,de->abce", &[4, 6, 5][..], &[4, 6, 5][..], &[8, 5][..]),
            ("...x,xyz->...yz", &[2, 3], &[4, 6, 2, 3], &[8, 2, 3]),
            ("abcd,cde->abe", &[4, 7], &[4, 7], &[6, 8, 7]),
            ("abcd,ed->abce", &[4, 6, 5], &[4, 6, 5], &[5, 8]),
            ("abcd,bde->abce", &[4, 6, 5], &[4, 6, 5], &[4, 8, 5]),
            ("ab...,bc->ac...", &[3], &[3, 6, 8], &[4, 3]),
        ] {
            let y = EinsumDense::new(equation, output).call(&x).unwrap();
            assert_eq!((&y.shape()[..], y.layer().weights()[0].shape()), (shape, kernel), "{equation}");
        }
        for (layer, expected) in [
            (EinsumDense::new("abcd,de->abce", [4, 5]), "output_shape: expected the sizes of the result"),
            (EinsumDense::new("abcd,de->abce", [4, 7, 5]), "output_shape: expected the sizes of the result"),
            (EinsumDense::new("abcd,de->abce", [4, 6, 5]).bias_axes("z"), "bias_axes: expected axes of the result"),
            (EinsumDense::new("abcd,ade->abce", [4, 6, 5]), "the kernel has no batch"),
            (EinsumDense::new("abcd,de->abce", [4, 6, 0]), "at least 1"),
        ] {
            let error = layer.call(&x).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
