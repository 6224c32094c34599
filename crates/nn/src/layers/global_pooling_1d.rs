//! `GlobalAveragePooling1D` and `GlobalMaxPooling1D`: pooling over all steps of a sequence.

use engraft_ir::PoolKind;
use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::{config_of, single};
use super::rearranged::{permuted, reshaped};
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Error, Result};

/// The order of a sequence's axes: `[steps, channels]` or `[channels, steps]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SequenceFormat {
    #[default]
    ChannelsLast,
    ChannelsFirst,
}

/// Defines a global pooling layer of sequences. The two layers differ only in the kind of pooling.
macro_rules! global_pooling_1d_layer {
    ($(#[$doc:meta])* $name:ident, $kind:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            #[serde(default)]
            data_format: SequenceFormat,
            #[serde(default)]
            keepdims: bool,
        }

        impl $name {
            /// A layer that pools `[steps, c]` to `[c]`.
            pub fn new() -> Self {
                Self::default()
            }

            /// Sets whether the result has the shape `[1, c]`; false by default.
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
                pooled_shape(single(inputs)?, self.data_format, self.keepdims)
            }

            fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
                Ok(if $kind == PoolKind::Max { DType::common(inputs) } else { DType::Float })
            }

            fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
                let shape = self.output_shape(std::slice::from_ref(to.shape(inputs[0])))?;
                let x = match self.data_format {
                    SequenceFormat::ChannelsLast => inputs[0],
                    SequenceFormat::ChannelsFirst => permuted(to, inputs[0], vec![1, 0]),
                };
                // A sequence is an image of one column.
                let (steps, channels) = (to.shape(x)[0], to.shape(x)[1]);
                let x = reshaped(to, x, [steps, 1, channels]);
                let pooled = to.push(Op::GlobalPool { kind: $kind }, &[x], vec![channels]);
                Ok(reshaped(to, pooled, shape))
            }
        }
    };
}

fn pooled_shape(shape: &Shape, format: SequenceFormat, keepdims: bool) -> Result<Shape> {
    let &[first, last] = shape.as_slice() else {
        return Err(Error::new("input", "[steps, channels]", format_args!("{shape:?}")));
    };
    Ok(match (format, keepdims) {
        (SequenceFormat::ChannelsLast, false) => vec![last],
        (SequenceFormat::ChannelsLast, true) => vec![1, last],
        (SequenceFormat::ChannelsFirst, false) => vec![first],
        (SequenceFormat::ChannelsFirst, true) => vec![first, 1],
    })
}

global_pooling_1d_layer! {
    /// The mean of each channel over all steps (Keras' `GlobalAveragePooling1D`).
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_nn::layers::GlobalAveragePooling1D;
    /// // The patches of a vision transformer.
    /// let x = Input::new([196, 64]);
    /// assert_eq!(GlobalAveragePooling1D::new().call(&x)?.shape(), &[64]);
    /// assert_eq!(GlobalAveragePooling1D::new().keepdims(true).call(&x)?.shape(), &[1, 64]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    GlobalAveragePooling1D, PoolKind::Average
}

global_pooling_1d_layer! {
    /// The maximum of each channel over all steps (Keras' `GlobalMaxPooling1D`).
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_nn::layers::GlobalMaxPooling1D;
    /// let x = Input::new([196, 64]);
    /// assert_eq!(GlobalMaxPooling1D::new().call(&x)?.shape(), &[64]);
    /// assert_eq!(GlobalMaxPooling1D::new().keepdims(true).call(&x)?.shape(), &[1, 64]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    GlobalMaxPooling1D, PoolKind::Max
}
