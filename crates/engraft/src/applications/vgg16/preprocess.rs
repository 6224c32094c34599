//! VGG16's input preprocessing (`mode="caffe"` in Keras): as layers of the model, and on photos in memory.

use crate::applications::Preprocessing;
use crate::applications::preprocessing::MEAN_BGR;
use crate::prelude::*;
use crate::{Error, Result};

/// Adds VGG16's preprocessing to a model: RGB (0 to 255) becomes BGR, minus the ImageNet mean of each channel, not scaled.
///
/// The values are those of `keras.applications.vgg16.preprocess_input`. The preprocessing is two layers, `Flip` and `Rescaling`,
/// which are saved with the model. So the saved model takes raw RGB photos, in Keras too.
///
/// Shapes: `[height, width, 3]` to `[height, width, 3]`.
///
/// ```
/// use engraft::{applications::vgg16, prelude::*};
/// let photo = Input::new([1, 1, 3]);
/// let model = Model::new(&photo, &vgg16::preprocess_input(&photo)?)?;
/// let red = Tensor::new([1, 1, 1, 3], vec![255.0, 0.0, 0.0])?;
/// assert_eq!(model.predict(&red, 1)?.data(), [-103.939, -116.779, 255.0 - 123.68]);
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// The last axis doesn't have 3 channels.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    Preprocessing::Caffe.call(x)
}

/// Preprocesses photos in memory, `[.., 3]`, in place; the values are those of [`preprocess_input`].
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
/// The last axis doesn't have 3 channels.
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
