//! [`LoadOptions`]: what a program says about a file of Keras when it opens it.

use engraft_nn::layers::CustomLayers;

/// Options of [`load_with`](super::load_with).
///
/// ```
/// use engraft_formats::keras::{self, LoadOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.keras");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
/// keras::save_model(&model, &path)?;
/// let archive = keras::load_with(&path, &LoadOptions::new().image_size([64, 64]))?;
/// assert_eq!(archive.model.input_shape(), &[4], "no input of open size");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    pub(super) image_size: Option<[usize; 2]>,
    pub(super) custom_layers: CustomLayers,
}

impl LoadOptions {
    /// The options of [`load`](super::load).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the height and width of images, in pixels, for inputs whose size is open (`[None, None, 3]` in Keras).
    ///
    /// The default is the size in the file's metadata, else the usual size of a network of `keras.applications`, else 224.
    #[must_use]
    pub fn image_size(self, size: [usize; 2]) -> Self {
        Self { image_size: Some(size), ..self }
    }

    /// Sets the custom layers that the program knows. No code of the file runs.
    #[must_use]
    pub fn custom_layers(self, layers: CustomLayers) -> Self {
        Self { custom_layers: layers, ..self }
    }
}
