//! Augmentation layers: random flips, rotations and zooms, in training only.

use engraft_ir::{Fill, Op, RandomTransform, ValueId};
use engraft_ir::{FillMode, Interpolation};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::data_format::DataFormat;
use super::options::config_of;
use super::seed::Seed;
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{Error, Result};

/// The range that a random factor is drawn from; in a config, `0.1` stands for -0.1 to 0.1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number or two of them")]
enum Factor {
    Symmetric(f32),
    Between([f32; 2]),
}

impl Factor {
    /// Lower and upper bound; an error for a bound outside `limits`.
    fn bounds(self, place: &str, limits: std::ops::RangeInclusive<f32>) -> Result<[f32; 2]> {
        let [low, high] = match self {
            Self::Symmetric(factor) => [-factor.abs(), factor.abs()],
            Self::Between([a, b]) => [a.min(b), a.max(b)],
        };
        if limits.contains(&low) && limits.contains(&high) {
            return Ok([low, high]);
        }
        Err(Error::new(
            place,
            format_args!("factors from {} to {}", limits.start(), limits.end()),
            format_args!("{low} to {high}"),
        ))
    }
}

fn reflect() -> FillMode {
    FillMode::Reflect
}

fn bilinear() -> Interpolation {
    Interpolation::Bilinear
}

/// The output shape of a random layer: the input's, which must be an image.
fn image_shape(inputs: &[Shape], format: DataFormat) -> Result<Shape> {
    format.image(inputs).map(|image| format.shape(image))
}

/// Lowers a random layer to `transform` in training. Otherwise the layer adds no operation and returns its input.
fn lower_random(
    to: &mut Lowering<'_>,
    inputs: &[ValueId],
    format: DataFormat,
    seed: &Seed,
    transform: RandomTransform,
) -> Result<ValueId> {
    if !to.training() {
        return Ok(inputs[0]);
    }
    let seed = to.random_seed(seed.number());
    format.lower(to, inputs[0], |to, image, shape| {
        Ok(to.push(Op::RandomTransform { transform, seed }, &[image], shape.to_vec()))
    })
}

/// Mirrors images with probability 1/2 in training (Keras' `RandomFlip`): `[h, w, c] -> [h, w, c]`.
///
/// ```
/// use engraft_nn::{Program, prelude::*};
/// let x = Input::new([64, 64, 3]);
/// let model = Model::new(&x, &RandomFlip::horizontal().call(&x)?)?;
/// assert_eq!(Program::of(&model, true, 0)?.steps.len(), 1);
/// // Predictions use the images unchanged.
/// assert!(Program::of(&model, false, 0)?.steps.is_empty());
///
/// // Satellite photos have no upright direction. With its own seed, the layer ignores the seed of `fit`.
/// let flipped = RandomFlip::horizontal_and_vertical().seed(7).call(&x)?;
/// assert_eq!(flipped.layer().def().config()["mode"], "horizontal_and_vertical");
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomFlip {
    #[serde(default = "both")]
    mode: FlipMode,
    #[serde(default)]
    seed: Seed,
    #[serde(default)]
    data_format: DataFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FlipMode {
    Horizontal,
    Vertical,
    HorizontalAndVertical,
}

fn both() -> FlipMode {
    FlipMode::HorizontalAndVertical
}

impl RandomFlip {
    /// A layer that exchanges left and right.
    pub fn horizontal() -> Self {
        Self { mode: FlipMode::Horizontal, seed: Seed::default(), data_format: DataFormat::ChannelsLast }
    }

    /// A layer that exchanges top and bottom.
    ///
    /// ```
    /// use engraft_nn::{LayerDef, layers::RandomFlip};
    /// assert_eq!(RandomFlip::vertical().config()["mode"], "vertical");
    /// ```
    pub fn vertical() -> Self {
        Self { mode: FlipMode::Vertical, ..Self::horizontal() }
    }

    /// A layer that mirrors in both directions. As in Keras, one draw decides for both.
    pub fn horizontal_and_vertical() -> Self {
        Self { mode: both(), ..Self::horizontal() }
    }

    /// Sets a seed for this layer, which replaces the seed of `fit`.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed.into();
        self
    }
}

impl LayerDef for RandomFlip {
    fn class_name(&self) -> &'static str {
        "RandomFlip"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        image_shape(inputs, self.data_format)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let transform = RandomTransform::Flip {
            horizontal: self.mode != FlipMode::Vertical,
            vertical: self.mode != FlipMode::Horizontal,
        };
        lower_random(to, inputs, self.data_format, &self.seed, transform)
    }
}

/// Rotates images at random in training (Keras' `RandomRotation`): `[h, w, c] -> [h, w, c]`.
///
/// ```
/// use engraft_nn::{FillMode, Interpolation, prelude::*};
/// // Up to a tenth of a full turn in both directions.
/// let x = RandomRotation::new(0.1).call(&Input::new([64, 64, 3]))?;
/// // Only counter-clockwise, with black corners.
/// let y = RandomRotation::between(0.0, 0.25)
///     .fill_mode(FillMode::Constant)
///     .fill_value(0.0)
///     .interpolation(Interpolation::Nearest)
///     .seed(7)
///     .call(&x)?;
/// assert_eq!(y.shape(), &[64, 64, 3]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomRotation {
    factor: Factor,
    #[serde(default = "reflect")]
    fill_mode: FillMode,
    #[serde(default)]
    fill_value: f32,
    #[serde(default = "bilinear")]
    interpolation: Interpolation,
    #[serde(default)]
    seed: Seed,
    #[serde(default)]
    data_format: DataFormat,
}

impl RandomRotation {
    /// A layer that rotates by up to `factor` full turns in both directions.
    pub fn new(factor: f32) -> Self {
        Self::between(-factor.abs(), factor.abs())
    }

    /// A layer that rotates by `low` to `high` full turns; positive is counter-clockwise.
    pub fn between(low: f32, high: f32) -> Self {
        Self {
            factor: Factor::Between([low, high]),
            fill_mode: reflect(),
            fill_value: 0.0,
            interpolation: bilinear(),
            seed: Seed::default(),
            data_format: DataFormat::ChannelsLast,
        }
    }
}

impl LayerDef for RandomRotation {
    fn class_name(&self) -> &'static str {
        "RandomRotation"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        self.check_interpolation()?;
        self.factor.bounds("factor", -1.0..=1.0)?;
        image_shape(inputs, self.data_format)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let [low, high] = self.factor.bounds("factor", -1.0..=1.0)?.map(|turns| turns * std::f32::consts::TAU);
        lower_random(
            to,
            inputs,
            self.data_format,
            &self.seed,
            RandomTransform::Rotation { low, high, fill: self.fill() },
        )
    }
}

/// Zooms in or out at random in training (Keras' `RandomZoom`): `[h, w, c] -> [h, w, c]`.
///
/// ```
/// use engraft_nn::{FillMode, Interpolation, prelude::*};
/// let x = RandomZoom::new(0.2).call(&Input::new([64, 64, 3]))?;
/// // Zooms in on the height only, and stretches or squeezes the width. White borders.
/// let y = RandomZoom::between(-0.3, 0.0)
///     .width(-0.1, 0.1)
///     .fill_mode(FillMode::Constant)
///     .fill_value(255.0)
///     .interpolation(Interpolation::Bilinear)
///     .seed(7)
///     .call(&x)?;
/// assert_eq!(y.shape(), &[64, 64, 3]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomZoom {
    height_factor: Factor,
    #[serde(default)]
    width_factor: Option<Factor>,
    #[serde(default = "reflect")]
    fill_mode: FillMode,
    #[serde(default = "bilinear")]
    interpolation: Interpolation,
    #[serde(default)]
    seed: Seed,
    #[serde(default)]
    fill_value: f32,
    #[serde(default)]
    data_format: DataFormat,
}

impl RandomZoom {
    /// A layer that zooms in or out by up to the fraction `factor` (0.2 is 20 %) and preserves the aspect ratio.
    pub fn new(factor: f32) -> Self {
        Self { height_factor: Factor::Symmetric(factor), ..Self::between(0.0, 0.0) }
    }

    /// A layer that zooms by a factor drawn from `low` to `high`: negative zooms in, positive zooms out.
    ///
    /// With factor `f`, the result shows a central section of `1 + f` times the image's height and width.
    pub fn between(low: f32, high: f32) -> Self {
        Self {
            height_factor: Factor::Between([low, high]),
            width_factor: None,
            fill_mode: reflect(),
            interpolation: bilinear(),
            seed: Seed::default(),
            fill_value: 0.0,
            data_format: DataFormat::ChannelsLast,
        }
    }

    /// Draws the factor of the width separately, from `low` to `high`. By default the width has the height's factor.
    #[must_use]
    pub fn width(mut self, low: f32, high: f32) -> Self {
        self.width_factor = Some(Factor::Between([low, high]));
        self
    }

    fn transform(&self) -> Result<RandomTransform> {
        let bounds = |factor: Factor, place| factor.bounds(place, -0.999..=1.0).map(|b| b.map(|f| 1.0 + f));
        Ok(RandomTransform::Zoom {
            height: bounds(self.height_factor, "height_factor")?,
            width: self.width_factor.map(|factor| bounds(factor, "width_factor")).transpose()?,
            fill: self.fill(),
        })
    }
}

impl LayerDef for RandomZoom {
    fn class_name(&self) -> &'static str {
        "RandomZoom"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        self.check_interpolation()?;
        self.transform()?;
        image_shape(inputs, self.data_format)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        lower_random(to, inputs, self.data_format, &self.seed, self.transform()?)
    }
}

/// Defines the options that rotation and zoom share.
macro_rules! fill_options {
    ($name:ident) => {
        impl $name {
            /// Sets how pixels beyond the edges are filled; [`FillMode::Reflect`] by default.
            #[must_use]
            pub fn fill_mode(mut self, mode: FillMode) -> Self {
                self.fill_mode = mode;
                self
            }

            /// Sets the value of pixels beyond the edges for [`FillMode::Constant`]; 0 by default.
            #[must_use]
            pub fn fill_value(mut self, value: f32) -> Self {
                self.fill_value = value;
                self
            }

            /// Sets how values between pixels are computed; bilinear by default.
            #[must_use]
            pub fn interpolation(mut self, interpolation: Interpolation) -> Self {
                self.interpolation = interpolation;
                self
            }

            /// Sets a seed for this layer, which replaces the seed of `fit`.
            #[must_use]
            pub fn seed(mut self, seed: u64) -> Self {
                self.seed = seed.into();
                self
            }

            /// Refuses the interpolations that only resizing has, as Keras does.
            fn check_interpolation(&self) -> Result<()> {
                match self.interpolation {
                    Interpolation::Bilinear | Interpolation::Nearest => Ok(()),
                    other => Err(Error::new("interpolation", "bilinear or nearest", format_args!("{other:?}"))),
                }
            }

            fn fill(&self) -> Fill {
                Fill { mode: self.fill_mode, value: self.fill_value, interpolation: self.interpolation }
            }
        }
    };
}

fill_options!(RandomRotation);
fill_options!(RandomZoom);

#[cfg(test)]
mod tests {
    use engraft_ir::Transformation;
    use engraft_ir::random::Rng;

    use super::*;

    #[test]
    fn draws_stay_within_their_bounds() {
        let zoom = RandomZoom::between(-0.3, 0.1).width(0.0, 0.2).transform().unwrap();
        let mut rng = Rng::new(9);
        for _ in 0..1000 {
            let Transformation::Zoom { height, width, .. } = zoom.draw(&mut rng) else { panic!("a zoom draws zooms") };
            assert!((0.7..1.1).contains(&height) && (1.0..1.2).contains(&width), "{height} {width}");
        }
    }

    #[test]
    fn without_a_width_the_aspect_ratio_stays() {
        let zoom = RandomZoom::new(0.2).transform().unwrap();
        let Transformation::Zoom { height, width, .. } = zoom.draw(&mut Rng::new(2)) else { panic!("zoom") };
        assert_eq!(height, width);
    }

    #[test]
    fn a_zoom_of_minus_one_would_divide_by_nothing() {
        assert!(RandomZoom::between(-1.0, 0.0).transform().is_err());
    }
}
