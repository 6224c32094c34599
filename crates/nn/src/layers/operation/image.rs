//! Operations on images: resizing, cropping, padding, grayscale, blocks of pixels.

use engraft_ir::{Reduction, Unary, ValueId};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::Resizing;
use super::rearrange::{of_tensor, padded};
use super::{one_tensor, options};
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{Error, Result, Shape};

/// Unlike the layer of this name, the operation rounds to integers.
pub(super) fn resize(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    one_tensor(arguments)?;
    let mut config = config.clone();
    match config.remove("size").as_ref().and_then(Value::as_array).map(Vec::as_slice) {
        Some([height, width]) => {
            config.insert("height".into(), height.clone());
            config.insert("width".into(), width.clone());
        }
        _ => return Err(Error::new("size", "height and width", Value::Object(config))),
    }
    if config.get("data_format").is_some_and(Value::is_null) {
        config.remove("data_format");
    }
    let resizing = Box::new(options::<Resizing>(&config)?);
    Ok(Box::new(IntegersOfIntegers { operation: resizing, function: Unary::Round }))
}

/// The only order of axes that these operations take.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ChannelsLast {
    ChannelsLast,
}

/// The luminance of RGB images by Keras' weights. Images of one channel stay as they are.
pub(super) fn rgb_to_grayscale(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        #[serde(rename = "data_format")]
        _data_format: Option<ChannelsLast>,
    }
    options::<Options>(config)?;
    let luminance = of_tensor(arguments, |e, x| match e.shape(x)[..] {
        [_, _, 1] => Ok(x),
        [_, _, 3] => {
            let weighted = e.scale_shift_channels(x, vec![0.2989, 0.587, 0.114], vec![0.0; 3])?;
            e.reduce(Reduction::Sum, weighted, &[2], true)
        }
        _ => Err(Error::new("image", "[height, width, 1 or 3 channels]", format_args!("{:?}", e.shape(x)))),
    });
    Ok(Box::new(IntegersOfIntegers { operation: luminance?, function: Unary::Truncate }))
}

/// An operation with floats whose result Keras converts to integers if the image has integers.
#[derive(Debug)]
struct IntegersOfIntegers {
    operation: Box<dyn LayerDef>,
    /// What makes integers of the floats.
    function: Unary,
}

impl LayerDef for IntegersOfIntegers {
    fn class_name(&self) -> &'static str {
        self.operation.class_name()
    }

    fn config(&self) -> Map<String, Value> {
        self.operation.config()
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        self.operation.output_shape(inputs)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let floats = self.operation.lower(to, inputs)?;
        Ok(to.push_integers_of_input(self.function, floats))
    }
}

/// Bounds of a crop or padding along one axis: two of three numbers determine the third.
#[derive(Clone, Copy, Debug)]
struct Extent {
    before: Option<usize>,
    after: Option<usize>,
    target: Option<usize>,
}

impl Extent {
    /// What is before and after, if both and the target add up to `difference`, counted without or with the target.
    fn resolve(self, total: impl Fn(usize) -> Option<usize>, what: &str) -> Result<[usize; 2]> {
        let sum = |target: Option<usize>| target.and_then(&total);
        let found = match (self.before, self.after) {
            (Some(before), Some(after)) => Some([before, after]),
            (Some(before), None) => sum(self.target).and_then(|sum| Some([before, sum.checked_sub(before)?])),
            (None, Some(after)) => sum(self.target).and_then(|sum| Some([sum.checked_sub(after)?, after])),
            (None, None) => None,
        };
        let consistent = |[before, after]: &[usize; 2]| {
            self.target.is_none() || sum(self.target).is_some_and(|sum| before.checked_add(*after) == Some(sum))
        };
        found.filter(consistent).ok_or_else(|| {
            Error::new(what, "two of the sides and the target size that fit the image", format_args!("{self:?}"))
        })
    }
}

pub(super) fn crop(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        top_cropping: Option<usize>,
        bottom_cropping: Option<usize>,
        left_cropping: Option<usize>,
        right_cropping: Option<usize>,
        target_height: Option<usize>,
        target_width: Option<usize>,
        #[serde(rename = "data_format")]
        _data_format: Option<ChannelsLast>,
    }
    let o: Options = options(config)?;
    let rows = Extent { before: o.top_cropping, after: o.bottom_cropping, target: o.target_height };
    let columns = Extent { before: o.left_cropping, after: o.right_cropping, target: o.target_width };
    of_tensor(arguments, move |e, x| {
        let &[height, width, channels] = e.shape(x).as_slice() else { return Err(no_image(e.shape(x))) };
        let range = |extent: Extent, size: usize| {
            let [before, after] = extent.resolve(|target| size.checked_sub(target), "cropping")?;
            let count = size.checked_sub(before).and_then(|rest| rest.checked_sub(after)).filter(|&count| count > 0);
            let count =
                count.ok_or_else(|| Error::new("cropping", format_args!("less than {size} pixels"), before + after))?;
            Ok::<_, Error>((before, 1, count))
        };
        e.slice(x, &[range(rows, height)?, range(columns, width)?, (0, 1, channels)])
    })
}

pub(super) fn pad(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        top_padding: Option<usize>,
        bottom_padding: Option<usize>,
        left_padding: Option<usize>,
        right_padding: Option<usize>,
        target_height: Option<usize>,
        target_width: Option<usize>,
        #[serde(rename = "data_format")]
        _data_format: Option<ChannelsLast>,
    }
    let o: Options = options(config)?;
    let rows = Extent { before: o.top_padding, after: o.bottom_padding, target: o.target_height };
    let columns = Extent { before: o.left_padding, after: o.right_padding, target: o.target_width };
    of_tensor(arguments, move |e, x| {
        let &[height, width, _] = e.shape(x).as_slice() else { return Err(no_image(e.shape(x))) };
        let rows = rows.resolve(|target| target.checked_sub(height), "padding")?;
        let columns = columns.resolve(|target| target.checked_sub(width), "padding")?;
        padded(e, x, vec![rows, columns, [0, 0]], 0.0)
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Blocks {
    block_size: usize,
    #[serde(rename = "data_format")]
    _data_format: Option<ChannelsLast>,
}

impl Blocks {
    fn read(config: &Map<String, Value>) -> Result<usize> {
        let Self { block_size, .. } = options(config)?;
        if block_size < 2 { Err(Error::new("block_size", "at least 2", block_size)) } else { Ok(block_size) }
    }
}

/// Blocks of pixels become channels of one pixel.
pub(super) fn space_to_depth(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    let block = Blocks::read(config)?;
    of_tensor(arguments, move |e, x| {
        let &[height, width, channels] = e.shape(x).as_slice() else { return Err(no_image(e.shape(x))) };
        if height % block != 0 || width % block != 0 {
            return Err(Error::new(
                "image",
                format_args!("sizes that are multiples of {block}"),
                format_args!("{height}x{width}"),
            ));
        }
        let (rows, columns) = (height / block, width / block);
        let x = e.reshape_to(x, vec![rows, block, columns, block, channels])?;
        let x = e.permute(x, vec![0, 2, 1, 3, 4])?;
        e.reshape_to(x, vec![rows, columns, block * block * channels])
    })
}

/// Channels of a pixel become blocks of pixels.
pub(super) fn depth_to_space(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    let block = Blocks::read(config)?;
    of_tensor(arguments, move |e, x| {
        let &[height, width, channels] = e.shape(x).as_slice() else { return Err(no_image(e.shape(x))) };
        let square = block.checked_mul(block).filter(|square| channels % square == 0);
        let square = square
            .ok_or_else(|| Error::new("image", format_args!("a multiple of {block} x {block} channels"), channels))?;
        let x = e.reshape_to(x, vec![height, width, block, block, channels / square])?;
        let x = e.permute(x, vec![0, 2, 1, 3, 4])?;
        e.reshape_to(x, vec![height * block, width * block, channels / square])
    })
}

fn no_image(shape: &crate::Shape) -> Error {
    Error::new("image", "[height, width, channels]", format_args!("{shape:?}"))
}
