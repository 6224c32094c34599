//! `GlobalAveragePooling2D` and `GlobalMaxPooling2D`: pooling over whole images.

use engraft_ir::PoolKind;
use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::data_format::DataFormat;
use super::options::config_of;
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Result};

/// Defines a global pooling layer. The two layers differ only in the kind of pooling.
macro_rules! global_pooling_layer {
    ($(#[$doc:meta])* $name:ident, $kind:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            #[serde(default)]
            data_format: DataFormat,
            #[serde(default)]
            keepdims: bool,
        }

        impl $name {
            /// A layer that pools `[h, w, c]` to `[c]`.
            pub fn new() -> Self {
                Self::default()
            }

            /// Sets whether the result has the shape `[1, 1, c]`; false by default.
            #[must_use]
            pub fn keepdims(mut self, keepdims: bool) -> Self {
                self.keepdims = keepdims;
                self
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
                let [_, _, channels] = self.data_format.image(inputs)?;
                Ok(if self.keepdims { self.data_format.shape([1, 1, channels]) } else { vec![channels] })
            }

            fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
                Ok(if $kind == PoolKind::Max { DType::common(inputs) } else { DType::Float })
            }

            fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
                self.data_format.lower(to, inputs[0], |to, input, [_, _, channels]| {
                    let shape = if self.keepdims { vec![1, 1, channels] } else { vec![channels] };
                    Ok(to.push(Op::GlobalPool { kind: $kind }, &[input], shape))
                })
            }
        }
    };
}

global_pooling_layer! {
    /// The mean of each channel over all pixels (Keras' `GlobalAveragePooling2D`).
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let x = Input::new([8, 8, 512]);
    /// assert_eq!(GlobalAveragePooling2D::new().call(&x)?.shape(), &[512]);
    /// assert_eq!(GlobalAveragePooling2D::new().keepdims(true).call(&x)?.shape(), &[1, 1, 512]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    GlobalAveragePooling2D, PoolKind::Average
}

global_pooling_layer! {
    /// The maximum of each channel over all pixels (Keras' `GlobalMaxPooling2D`).
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let x = Input::new([8, 8, 512]);
    /// assert_eq!(GlobalMaxPooling2D::new().call(&x)?.shape(), &[512]);
    /// assert_eq!(GlobalMaxPooling2D::new().keepdims(true).call(&x)?.shape(), &[1, 1, 512]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    GlobalMaxPooling2D, PoolKind::Max
}
