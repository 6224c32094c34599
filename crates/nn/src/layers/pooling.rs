//! Pooling over windows.

use engraft_ir::PoolKind;
use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::{DataFormat, Padding, Size2d, config_of, image};
use crate::Result;
use crate::Shape;
use crate::layer::LayerDef;
use crate::lowering::Lowering;

fn two() -> Size2d {
    Size2d::from(2)
}

/// The two layers differ in what they take from a window, and in nothing else.
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
            /// Windows of `pool_size` (`2` or `[2, 3]`), side by side.
            pub fn new(pool_size: impl Into<Size2d>) -> Self {
                let pool_size = pool_size.into();
                Self { pool_size, padding: Padding::Valid, strides: Some(pool_size), data_format: DataFormat::ChannelsLast }
            }

            /// Pixels between windows; the window's size by default.
            #[must_use]
            pub fn strides(mut self, strides: impl Into<Size2d>) -> Self {
                self.strides = Some(strides.into());
                self
            }

            /// What stands beyond the edges; `valid` by default. Padding never counts as a value.
            #[must_use]
            pub fn padding(mut self, padding: Padding) -> Self {
                self.padding = padding;
                self
            }

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
                let [height, width, channels] = image(inputs)?;
                let [(out_h, _), (out_w, _)] = self.window([height, width])?;
                Ok(vec![out_h, out_w, channels])
            }

            fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
                let [height, width, channels] = image(std::slice::from_ref(to.shape(inputs[0])))?;
                let [(out_h, top), (out_w, left)] = self.window([height, width])?;
                let stride = self.strides.unwrap_or(self.pool_size).0;
                let op = Op::Pool2d { kind: $kind, size: self.pool_size.0, stride, pad: [top, left] };
                Ok(to.push(op, inputs, vec![out_h, out_w, channels]))
            }
        }
    };
}

pooling_layer! {
    /// The largest value of each window (Keras' `MaxPooling2D`): `[h, w, c] -> [h', w', c]`.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let y = MaxPooling2D::new(2).call(&Input::new([7, 8, 3]))?;
    /// assert_eq!(y.shape(), &[3, 4, 3]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    MaxPooling2D, PoolKind::Max
}

pooling_layer! {
    /// The mean of each window (Keras' `AveragePooling2D`): `[h, w, c] -> [h', w', c]`.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let y = AveragePooling2D::new([1, 2]).call(&Input::new([7, 8, 3]))?;
    /// assert_eq!(y.shape(), &[7, 4, 3]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    AveragePooling2D, PoolKind::Average
}
