//! Models whose output has axes of size 1 beside that of the classes, such as fully convolutional ones.

use super::outputs::is_vector;
use crate::prelude::*;
use crate::{Model, Result};

/// The name of the layer that [`with_vector_output`] adds.
const NAME: &str = "without_places";

/// The model, or one with a `Flatten` behind it that has the output `[n]` if the model has `[1, 1, n]` or the like.
///
/// Labels, class names and losses have one number per class. A layer in the model keeps prediction, training and exported files the
/// same.
pub(super) fn with_vector_output(model: Model) -> Result<Model> {
    let [output] = model.outputs() else { return Ok(model) };
    if output.shape().len() == 1 || !is_vector(output.shape()) {
        return Ok(model);
    }
    let flat = Flatten::new().named(NAME).call(output)?;
    let flattened = Model::named(model.name(), model.inputs(), &flat)?;
    flattened.set_compiled(model.compiled());
    Ok(flattened)
}

/// The name of the layer that gives the output of a model, below one that [`with_vector_output`] added.
pub(super) fn output_layer(model: &Model) -> String {
    let output = model.output();
    match (output.layer().name(), output.inputs()) {
        (NAME, [input]) => input.layer().name().to_owned(),
        (name, _) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_axes_of_size_one_are_removed() {
        for (shape, expected) in
            [([1, 1, 5], vec![5]), ([5, 1, 1], vec![5]), ([1, 1, 1], vec![1]), ([2, 2, 3], vec![2, 2, 3])]
        {
            let model = Sequential::new().add(Input::new(shape)).add(Activation::new(Relu).named("top"));
            let model = with_vector_output(model.build().unwrap()).unwrap();
            assert_eq!((model.output_shape(), output_layer(&model)), (&expected, "top".to_owned()));
        }
    }

    #[test]
    fn the_model_stays_compiled_and_keeps_its_name() {
        let model = Sequential::with_name("m").add(Input::new([1, 1, 4])).add(Conv2D::new(3, 1).activation(Softmax));
        let model = model.build().unwrap();
        let other = Sequential::new().add(Input::new([4])).add(Dense::new(3)).build().unwrap();
        other.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), []).unwrap();
        model.set_compiled(other.compiled());
        let flat = with_vector_output(model).unwrap();
        assert!(flat.compiled().is_some() && flat.name() == "m");
    }
}
