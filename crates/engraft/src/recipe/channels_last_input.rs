//! Models whose input has its channels first, or none, for photos, which have theirs last.

use crate::prelude::*;
use crate::{Model, Result};

/// The model, or a model around it that takes images `[height, width, channels]` if it takes `[3, height, width]`, grey ones as
/// `[1, height, width]`, or `[height, width]`.
///
/// Photos are decoded with their channels last, in prediction and in every data set. A layer in front of the model keeps all of
/// them the same.
pub(super) fn with_channels_last_input(model: Model) -> Result<Model> {
    let [input] = model.inputs() else { return Ok(model) };
    let (shape, layer) = match input.shape()[..] {
        [3, height, width] if width != 3 => ([height, width, 3], Permute::new([3, 1, 2]).named("channels_first")),
        // With a single channel, moving its axis is a reshape.
        [1, height, width] if ![1, 3, 4].contains(&width) => {
            ([height, width, 1], reshape(&[1, height, width]).named("channels_first"))
        }
        [height, width] => ([height, width, 1], reshape(&[height, width]).named("without_channels")),
        _ => return Ok(model),
    };
    let x = Input::named("photos", shape);
    let y = model.call(&layer.call(&x)?)?;
    let wrapped = Model::new(&x, &y)?;
    wrapped.set_compiled(model.compiled());
    Ok(wrapped)
}

fn reshape(shape: &[usize]) -> Reshape {
    // No shape of a model has a size beyond `i64`.
    Reshape::new(shape.iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX)).collect::<Vec<i64>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(shape: &[usize]) -> Model {
        let layers = Sequential::new().add(Input::new(shape)).add(Flatten::new()).add(Dense::new(2));
        layers.build().unwrap()
    }

    #[test]
    fn channels_are_moved_only_where_they_come_first() {
        for (shape, photos) in
            [(&[3, 4, 5][..], [4, 5, 3]), (&[1, 4, 5], [4, 5, 1]), (&[4, 5], [4, 5, 1]), (&[6, 1], [6, 1, 1])]
        {
            let wrapped = with_channels_last_input(model(shape)).unwrap();
            assert_eq!((wrapped.input_shape(), wrapped.layers().len()), (&photos.to_vec(), 3));
        }
        for shape in [[4, 5, 3], [3, 4, 3], [1, 4, 1]] {
            assert_eq!(with_channels_last_input(model(&shape)).unwrap().input_shape(), &shape);
        }
    }

    #[test]
    fn the_model_stays_compiled() {
        let model = model(&[4, 5]);
        model.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), []).unwrap();
        assert!(with_channels_last_input(model).unwrap().compiled().is_some());
    }
}
