//! `AdaptiveAveragePooling2D` and `AdaptiveMaxPooling2D`: pooling to a given size.

use engraft_ir::{Op, PoolKind, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::data_format::DataFormat;
use super::options::{Size2d, config_of};
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Error, Result};

/// Adds an adaptive pooling. Where the output divides the input evenly, it is an ordinary pooling.
fn lower(
    to: &mut Lowering<'_>,
    input: ValueId,
    kind: PoolKind,
    output: [usize; 2],
    [height, width, channels]: [usize; 3],
) -> ValueId {
    let size = [height / output[0], width / output[1]];
    let divides = height.is_multiple_of(output[0]) && width.is_multiple_of(output[1]);
    let op = match divides {
        true => Op::Pool2d { kind, size, stride: size, pad: [0, 0] },
        false => Op::AdaptivePool2d { kind },
    };
    to.push(op, &[input], vec![output[0], output[1], channels])
}

/// Defines an adaptive pooling layer. The two layers differ only in the kind of pooling.
macro_rules! adaptive_pooling_layer {
    ($(#[$doc:meta])* $name:ident, $kind:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            output_size: Size2d,
            #[serde(default)]
            data_format: DataFormat,
        }

        impl $name {
            /// A layer that pools images to `output_size` (`3` or `[3, 5]`).
            pub fn new(output_size: impl Into<Size2d>) -> Self {
                Self { output_size: output_size.into(), data_format: DataFormat::ChannelsLast }
            }
        }

        impl LayerDef for $name {
            fn class_name(&self) -> &'static str {
                stringify!($name)
            }

            fn config(&self) -> Map<String, Value> {
                config_of(self)
            }

            fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
                let [height, width, channels] = self.data_format.image(inputs)?;
                let Size2d([out_h, out_w]) = self.output_size;
                if [height, width, out_h, out_w].contains(&0) {
                    let received = format!("{out_h}x{out_w} for {height}x{width}");
                    return Err(Error::new("output_size", "images of at least one pixel", received));
                }
                Ok(self.data_format.shape([out_h, out_w, channels]))
            }

            fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
                Ok(if $kind == PoolKind::Max { DType::common(inputs) } else { DType::Float })
            }

            fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
                let Size2d(output) = self.output_size;
                self.data_format.lower(to, inputs[0], |to, input, sizes| Ok(lower(to, input, $kind, output, sizes)))
            }
        }
    };
}

adaptive_pooling_layer! {
    /// The mean of windows that divide an image as evenly as possible (Keras' `AdaptiveAveragePooling2D`): `[h, w, c] -> [h', w', c]`.
    ///
    /// ```
    /// use engraft_nn::{layers::AdaptiveAveragePooling2D, prelude::*};
    /// let x = Input::new([7, 9, 3]);
    /// assert_eq!(AdaptiveAveragePooling2D::new([2, 3]).call(&x)?.shape(), &[2, 3, 3]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    AdaptiveAveragePooling2D, PoolKind::Average
}

adaptive_pooling_layer! {
    /// The maximum of windows that divide an image as evenly as possible (Keras' `AdaptiveMaxPooling2D`): `[h, w, c] -> [h', w', c]`.
    ///
    /// ```
    /// use engraft_nn::{layers::AdaptiveMaxPooling2D, prelude::*};
    /// let x = Input::new([7, 9, 3]);
    /// assert_eq!(AdaptiveMaxPooling2D::new(2).call(&x)?.shape(), &[2, 2, 3]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    AdaptiveMaxPooling2D, PoolKind::Max
}
