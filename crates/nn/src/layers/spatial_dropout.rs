//! `SpatialDropout1D`, `SpatialDropout2D` and `SpatialDropout3D`: dropout of whole channels.

use engraft_ir::{Noise, Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::data_format::DataFormat;
use super::noise::check_rate;
use super::options::{config_of, single};
use super::seed::Seed;
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Error, Result};

/// Sets whole channels of images to zero at random in training (Keras' `SpatialDropout2D`): `[h, w, c] -> [h, w, c]`.
///
/// The other channels are divided by `1 - rate`. Has no effect outside training. Source: Tompson et al. 2014, arXiv:1411.4280.
///
/// ```
/// use engraft_nn::{Program, prelude::*, layers::SpatialDropout2D};
/// let x = Input::new([8, 8, 3]);
/// let model = Model::new(&x, &SpatialDropout2D::new(0.2).seed(7).call(&x)?)?;
/// assert_eq!(Program::of(&model, true, 0)?.steps.len(), 1);
/// assert!(Program::of(&model, false, 0)?.steps.is_empty());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpatialDropout2D {
    rate: f32,
    #[serde(default)]
    seed: Seed,
    #[serde(default)]
    data_format: DataFormat,
}

/// Sets whole channels of sequences to zero at random in training (Keras' `SpatialDropout1D`): `[steps, c] -> [steps, c]`.
///
/// ```
/// use engraft_nn::{prelude::*, layers::SpatialDropout1D};
/// assert_eq!(SpatialDropout1D::new(0.2).call(&Input::new([8, 3]))?.shape(), &[8, 3]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpatialDropout1D {
    rate: f32,
    #[serde(default)]
    seed: Seed,
}

/// Sets whole channels of volumes to zero at random in training (Keras' `SpatialDropout3D`): `[d, h, w, c] -> [d, h, w, c]`.
///
/// ```
/// use engraft_nn::{prelude::*, layers::SpatialDropout3D};
/// assert_eq!(SpatialDropout3D::new(0.2).call(&Input::new([2, 8, 8, 3]))?.shape(), &[2, 8, 8, 3]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpatialDropout3D {
    rate: f32,
    #[serde(default)]
    seed: Seed,
    #[serde(default)]
    data_format: DataFormat,
}

/// Implements a layer that drops channels of inputs with `$rank` axes besides the batch.
macro_rules! spatial_dropout {
    ($name:ident, $rank:literal, $axes:literal $(, $format:ident)?) => {
        impl $name {
            /// A layer that drops each channel with probability `rate`, in `0.0..1.0`.
            pub fn new(rate: f32) -> Self {
                Self { rate, seed: Seed::default() $(, $format: DataFormat::default())? }
            }

            /// Sets a seed for this layer, which replaces the seed of `fit`.
            #[must_use]
            pub fn seed(mut self, seed: u64) -> Self {
                self.seed = seed.into();
                self
            }
        }

        impl LayerDef for $name {
            fn class_name(&self) -> &'static str {
                stringify!($name)
            }

            fn common_options(&self) -> &'static [&'static str] {
                &["dtype"]
            }

            fn config(&self) -> Map<String, Value> {
                config_of(self)
            }

            fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
                check_rate(self.rate)?;
                let shape = single(inputs)?;
                match shape.len() {
                    $rank => Ok(shape.clone()),
                    _ => Err(Error::new("input", $axes, format_args!("{shape:?}"))),
                }
            }

            fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
                Ok(DType::common(inputs))
            }

            fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
                if !to.training() || self.rate == 0.0 {
                    return Ok(inputs[0]);
                }
                let sample = to.shape(inputs[0]).clone();
                let mut shape = vec![1; $rank];
                let is_first = false $(|| self.$format == DataFormat::ChannelsFirst)?;
                let channels = if is_first { 0 } else { $rank - 1 };
                shape[channels] = sample[channels];
                let (noise, seed) = (Noise::Dropout { rate: self.rate }, to.random_seed(self.seed.number()));
                Ok(to.push(Op::Noise { noise, shape, across_samples: false, seed }, inputs, sample))
            }
        }
    };
}

spatial_dropout!(SpatialDropout1D, 2, "[steps, channels]");
spatial_dropout!(SpatialDropout2D, 3, "[height, width, channels]", data_format);
spatial_dropout!(SpatialDropout3D, 4, "[depth, height, width, channels]", data_format);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Program;
    use crate::prelude::*;

    #[test]
    fn a_channel_has_one_noise_in_each_sample() {
        let x = Input::new([4, 5, 3]);
        let model = Model::new(&x, &SpatialDropout2D::new(0.2).seed(7).call(&x).unwrap()).unwrap();
        let (noise, shape) = (Noise::Dropout { rate: 0.2 }, vec![1, 1, 3]);
        let expected = Op::Noise { noise, shape, across_samples: false, seed: 7 };
        assert_eq!(Program::of(&model, true, 1).unwrap().steps[0].op, expected);
    }

    #[test]
    fn other_ranks_are_named() {
        let error = SpatialDropout2D::new(0.2).call(&Input::new([4, 3])).unwrap_err().to_string();
        assert!(
            error.contains("(SpatialDropout2D), input: expected [height, width, channels], received [4, 3]"),
            "{error}"
        );
    }
}
