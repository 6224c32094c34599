//! The layers that Keras defines inside `keras.applications`: `LayerScale`, `StochasticDepth` and `CustomScaleLayer`.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::{config_of, single};
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::weight::WeightSpec;
use crate::{Error, ErrorKind, Initializer, Result};

const CONVNEXT: &str = "keras.src.applications.convnext";

/// Multiplies each channel by a trained factor (`LayerScale` of Keras' ConvNeXt; Touvron et al. 2021, arXiv:2103.17239).
///
/// ```
/// use engraft_nn::{layers::LayerScale, prelude::*};
/// let y = LayerScale::new(1e-6, 16).call(&Input::new([8, 8, 16]))?;
/// assert_eq!((y.layer().weights()[0].shape(), y.layer().count_params()), (&[16][..], 16));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerScale {
    init_values: f32,
    projection_dim: usize,
}

impl LayerScale {
    /// A layer for `projection_dim` channels, whose factors are `init_values` at first.
    pub fn new(init_values: f32, projection_dim: usize) -> Self {
        Self { init_values, projection_dim }
    }
}

impl LayerDef for LayerScale {
    fn class_name(&self) -> &'static str {
        "LayerScale"
    }

    fn module(&self) -> &'static str {
        CONVNEXT
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let shape = single(inputs)?;
        match shape.last() {
            Some(&channels) if channels == self.projection_dim || self.projection_dim == 1 => Ok(shape.clone()),
            _ => {
                let expected = format_args!("{} channels (projection_dim)", self.projection_dim);
                Err(Error::new("input", expected, format_args!("{shape:?}")))
            }
        }
    }

    fn weights(&self, _inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        Ok(vec![WeightSpec {
            name: "variable".into(),
            shape: vec![self.projection_dim],
            initializer: Initializer::Constant { value: self.init_values },
            trainable: true,
            regularizer: None,
            constraint: None,
        }])
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = to.shape(inputs[0]).clone();
        Ok(to.push(Op::Scale { below_zero: false }, inputs, shape))
    }
}

/// Drops the values of whole samples at random in training, and passes them unchanged in prediction (`StochasticDepth` of Keras'
/// ConvNeXt; Huang et al. 2016, arXiv:1603.09382).
///
/// Training through it isn't implemented and is refused.
///
/// ```
/// use engraft_nn::{Program, layers::StochasticDepth, prelude::*};
/// let x = Input::new([8]);
/// let model = Model::new(&x, &StochasticDepth::new(0.1).call(&x)?)?;
/// assert!(Program::of(&model, false, 0)?.steps.is_empty());
/// assert!(Program::of(&model, true, 0).is_err());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StochasticDepth {
    drop_path_rate: f32,
}

impl StochasticDepth {
    /// A layer that drops a sample with probability `drop_path_rate`, in `0.0..1.0`.
    pub fn new(drop_path_rate: f32) -> Self {
        Self { drop_path_rate }
    }
}

impl LayerDef for StochasticDepth {
    fn class_name(&self) -> &'static str {
        "StochasticDepth"
    }

    fn module(&self) -> &'static str {
        CONVNEXT
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        single(inputs).cloned()
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        if !to.training() || self.drop_path_rate == 0.0 {
            return Ok(inputs[0]);
        }
        Err(Error::new("drop_path_rate", "0, to train the model", self.drop_path_rate)
            .with_kind(ErrorKind::Unsupported)
            .hint("the model predicts as it is; to train it here, build it with drop_path_rate=0"))
    }
}

/// Adds a scaled second input to the first (`CustomScaleLayer` of Keras' Inception-ResNet v2; Szegedy et al. 2016,
/// arXiv:1602.07261).
///
/// ```
/// use engraft_nn::{layers::CustomScaleLayer, prelude::*};
/// let x = Input::new([8, 8, 16]);
/// assert_eq!(CustomScaleLayer::new(0.17).call([&x, &x])?.shape(), &[8, 8, 16]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomScaleLayer {
    scale: f32,
}

impl CustomScaleLayer {
    /// A layer that computes `a + scale * b`.
    pub fn new(scale: f32) -> Self {
        Self { scale }
    }
}

impl LayerDef for CustomScaleLayer {
    fn class_name(&self) -> &'static str {
        "CustomScaleLayer"
    }

    fn module(&self) -> &'static str {
        "keras.src.applications.inception_resnet_v2"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        match inputs {
            [a, b] if a == b && !a.is_empty() => Ok(a.clone()),
            other => Err(Error::new("inputs", "two of one shape", format_args!("{other:?}"))),
        }
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = to.shape(inputs[1]).clone();
        let channels = shape.last().copied().unwrap_or(1);
        let op = Op::ScaleShift { scale: vec![self.scale; channels], shift: vec![0.0; channels] };
        let scaled = to.push(op, &inputs[1..2], shape.clone());
        Ok(to.push(Op::Add, &[inputs[0], scaled], shape))
    }
}
