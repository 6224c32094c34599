//! `MaxPooling2D` and `AveragePooling2D`: pooling over windows.

use engraft_ir::PoolKind;
use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::data_format::DataFormat;
use super::options::{Padding, Size2d, config_of};
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Result};

fn two() -> Size2d {
    Size2d::from(2)
}

/// Defines a pooling layer. The two layers differ only in the kind of pooling.
macro_rules! pooling_layer {
    ($(#[$doc:meta])* $name:ident, $kind:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            #[serde(default = "two")]
            pool_size: Size2d,
            #[serde(default)]
            padding: Padding,
            #[serde(default)]
            strides: Option<Size2d>,
            #[serde(default)]
            data_format: DataFormat,
        }

        impl $name {
            /// A layer with adjacent windows of `pool_size` pixels (`2` or `[2, 3]`).
            pub fn new(pool_size: impl Into<Size2d>) -> Self {
                let pool_size = pool_size.into();
                Self { pool_size, padding: Padding::Valid, strides: Some(pool_size), data_format: DataFormat::ChannelsLast }
            }

            /// Sets the distance between windows, in pixels; the window's size by default.
            #[must_use]
            pub fn strides(mut self, strides: impl Into<Size2d>) -> Self {
                self.strides = Some(strides.into());
                self
            }

            /// Sets the padding at the edges; [`Padding::Valid`] by default. Padded pixels are left out of maximum and mean.
            #[must_use]
            pub fn padding(mut self, padding: Padding) -> Self {
                self.padding = padding;
                self
            }

            /// Output size and leading padding along both axes, for images of this size.
            fn window(&self, input: [usize; 2]) -> Result<[(usize, usize); 2]> {
                let Size2d(stride) = self.strides.unwrap_or(self.pool_size);
                let axis = |i: usize| self.padding.resolve(input[i], self.pool_size.0[i], stride[i], 1);
                Ok([axis(0)?, axis(1)?])
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
                let [(out_h, _), (out_w, _)] = self.window([height, width])?;
                Ok(self.data_format.shape([out_h, out_w, channels]))
            }

            fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
                Ok(if $kind == PoolKind::Max { DType::common(inputs) } else { DType::Float })
            }

            fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
                self.data_format.lower(to, inputs[0], |to, input, [height, width, channels]| {
                    let [(out_h, top), (out_w, left)] = self.window([height, width])?;
                    let stride = self.strides.unwrap_or(self.pool_size).0;
                    let op = Op::Pool2d { kind: $kind, size: self.pool_size.0, stride, pad: [top, left] };
                    Ok(to.push(op, &[input], vec![out_h, out_w, channels]))
                })
            }
        }
    };
}

pooling_layer! {
    /// The maximum of each window (Keras' `MaxPooling2D`): `[h, w, c] -> [h', w', c]`.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let x = Input::new([7, 8, 3]);
    /// assert_eq!(MaxPooling2D::new(2).call(&x)?.shape(), &[3, 4, 3]);
    /// // Overlapping windows, as in ResNet's stem.
    /// assert_eq!(MaxPooling2D::new(3).strides(2).padding(Padding::Same).call(&x)?.shape(), &[4, 4, 3]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    MaxPooling2D, PoolKind::Max
}

pooling_layer! {
    /// The mean of each window (Keras' `AveragePooling2D`): `[h, w, c] -> [h', w', c]`.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let x = Input::new([7, 8, 3]);
    /// assert_eq!(AveragePooling2D::new([1, 2]).call(&x)?.shape(), &[7, 4, 3]);
    /// assert_eq!(AveragePooling2D::new(3).strides(1).padding(Padding::Same).call(&x)?.shape(), &[7, 8, 3]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    AveragePooling2D, PoolKind::Average
}
