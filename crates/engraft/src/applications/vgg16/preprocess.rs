//! Photos as VGG16 was trained on them (Caffe's way).

use crate::layers::Flip;
use crate::prelude::*;
use crate::{Error, Result};

/// Mean of the ImageNet photos: blue, green, red.
const MEAN_BGR: [f32; 3] = [103.939, 116.779, 123.68];

/// RGB photos of 0 to 255 as VGG16 was trained on them: BGR, each channel less its ImageNet mean, not scaled.
///
/// Two layers, so that they become part of the model and of its file, which then takes raw photos in Keras, too.
/// x: `[height, width, 3]` -> `[height, width, 3]`
///
/// ```
/// use engraft::{applications::vgg16, prelude::*};
/// let inputs = Input::new([128, 128, 3]);
/// let x = vgg16::preprocess_input(&inputs)?;
/// let base = Vgg16::new().include_top(false).weights("none").input_tensor(&x).build()?;
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// Unless the last axis holds 3 channels.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    Rescaling::new(1.0).offset(MEAN_BGR.map(|mean| -mean)).call(&Flip::channels().call(x)?)
}

/// The same as [`preprocess_input`], done to photos in memory, `[.., 3]`.
///
/// ```
/// use engraft::{Tensor, applications::vgg16};
/// let mut pixel = Tensor::new([1, 1, 1, 3], vec![255.0, 0.0, 103.939])?;
/// vgg16::preprocess(&mut pixel)?;
/// assert_eq!(pixel.data(), [0.0, -116.779, 255.0 - 123.68]);
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// Unless the last axis holds 3 channels.
pub fn preprocess(photos: &mut Tensor) -> Result<()> {
    if photos.shape().last() != Some(&3) {
        return Err(Error::new("vgg16::preprocess", "RGB photos, [.., 3]", format_args!("{:?}", photos.shape())));
    }
    for pixel in photos.data_mut().chunks_exact_mut(3) {
        pixel.reverse();
        pixel.iter_mut().zip(MEAN_BGR).for_each(|(value, mean)| *value -= mean);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preprocessing_is_two_layers() {
        let x = preprocess_input(&Input::new([8, 8, 3])).unwrap();
        assert_eq!((x.layer().class_name(), x.inputs()[0].layer().class_name()), ("Rescaling", "Flip"));
        assert!(preprocess_input(&Input::new([8, 8, 1])).is_err());
        assert!(preprocess(&mut Tensor::zeros([1, 2])).is_err());
    }
}
