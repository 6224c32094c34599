//! [`DataFormat`]: where the axis of an image's channels is, as in Keras' option `data_format`.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};

use super::options::single;
use crate::Shape;
use crate::lowering::Lowering;
use crate::{Error, Result};

/// The order of an image's axes: `[height, width, channels]` or `[channels, height, width]`.
///
/// Operations take channels last. With channels first, a layer is lowered to a transposition, its operations, and a transposition
/// back; [`Program`](crate::Program) cancels those of neighbouring layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DataFormat {
    #[default]
    ChannelsLast,
    ChannelsFirst,
}

impl DataFormat {
    /// Height, width and channels of a layer's input; an error unless it is exactly one image.
    pub(super) fn image(self, inputs: &[Shape]) -> Result<[usize; 3]> {
        let shape = single(inputs)?;
        let expected = match self {
            Self::ChannelsLast => "[height, width, channels]",
            Self::ChannelsFirst => "[channels, height, width]",
        };
        match (self, &shape[..]) {
            (Self::ChannelsLast, &[height, width, channels]) | (Self::ChannelsFirst, &[channels, height, width]) => {
                Ok([height, width, channels])
            }
            _ => Err(Error::new("input", expected, format_args!("{shape:?}"))),
        }
    }

    /// The shape of an image of this height, width and number of channels.
    pub(super) fn shape(self, [height, width, channels]: [usize; 3]) -> Shape {
        match self {
            Self::ChannelsLast => vec![height, width, channels],
            Self::ChannelsFirst => vec![channels, height, width],
        }
    }

    /// Adds operations to an image that has its channels last. They get the image and its height, width and channels. If their
    /// result is an image, its channels are moved back.
    pub(super) fn lower(
        self,
        to: &mut Lowering<'_>,
        input: ValueId,
        add: impl FnOnce(&mut Lowering<'_>, ValueId, [usize; 3]) -> Result<ValueId>,
    ) -> Result<ValueId> {
        let sizes @ [height, width, channels] = self.image(std::slice::from_ref(to.shape(input)))?;
        if self == Self::ChannelsLast {
            return add(to, input, sizes);
        }
        let axes = vec![1, 2, 0];
        let x = to.push_with(Op::Permute { axes }, &[input], vec![height, width, channels], 0..0);
        let y = add(to, x, sizes)?;
        match to.shape(y)[..] {
            [height, width, channels] => {
                let axes = vec![2, 0, 1];
                Ok(to.push_with(Op::Permute { axes }, &[y], vec![channels, height, width], 0..0))
            }
            _ => Ok(y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_the_same_in_both_formats() {
        for (format, shape) in [(DataFormat::ChannelsLast, vec![5, 6, 3]), (DataFormat::ChannelsFirst, vec![3, 5, 6])] {
            assert_eq!(format.image(std::slice::from_ref(&shape)).unwrap(), [5, 6, 3]);
            assert_eq!(format.shape([5, 6, 3]), shape);
        }
        let error = DataFormat::ChannelsFirst.image(&[vec![5]]).unwrap_err().to_string();
        assert_eq!(error, "input: expected [channels, height, width], received [5]");
    }
}
