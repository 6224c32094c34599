//! Models whose input has its channels first, for photos, which have theirs last.

use crate::prelude::*;
use crate::{Model, Result};

/// The model, or a model around it that takes images `[height, width, 3]` if it takes `[3, height, width]`.
///
/// Photos are decoded with their channels last, in prediction and in every data set. A transposition in front of the model keeps
/// all of them the same.
pub(super) fn with_channels_last_input(model: Model) -> Result<Model> {
    let [input] = model.inputs() else { return Ok(model) };
    match input.shape()[..] {
        [3, height, width] if width != 3 => {
            let x = Input::named("photos", [height, width, 3]);
            let y = model.call(&Permute::new([3, 1, 2]).named("channels_first").call(&x)?)?;
            Model::new(&x, &y)
        }
        _ => Ok(model),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(shape: [usize; 3]) -> Model {
        let layers = Sequential::new().add(Input::new(shape)).add(Flatten::new()).add(Dense::new(2));
        with_channels_last_input(layers.build().unwrap()).unwrap()
    }

    #[test]
    fn channels_are_moved_only_where_they_come_first() {
        let wrapped = model([3, 4, 5]);
        assert_eq!((wrapped.input_shape(), wrapped.layers().len()), (&vec![4, 5, 3], 3));
        for shape in [[4, 5, 3], [3, 4, 3]] {
            assert_eq!(model(shape).input_shape(), &shape);
        }
    }
}
