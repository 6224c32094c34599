//! The leaf layers of a model: the layers without sublayers, also those inside nested models.

use crate::{Layer, Model};

impl Layer {
    /// The leaf layers inside this layer if it is a model, in the model's order; the layer itself if it has no sublayers.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let base = Sequential::with_name("base").add(Input::new([4])).add(Dense::new(4).named("hidden")).build()?;
    /// let leaves = base.layer().leaves();
    /// assert_eq!(leaves[0].name(), "hidden");
    /// assert_eq!(leaves[0].leaves(), leaves);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn leaves(&self) -> Vec<Layer> {
        self.leaf_paths().into_iter().map(|(_, layer)| layer).collect()
    }

    fn leaf_paths(&self) -> Vec<(String, Layer)> {
        let sublayers = self.layers();
        if sublayers.is_empty() {
            return vec![(self.name().to_owned(), self.clone())];
        }
        let within = |(path, leaf)| (format!("{}/{path}", self.name()), leaf);
        sublayers.iter().flat_map(Layer::leaf_paths).map(within).collect()
    }
}

impl Model {
    /// The leaf layers in the order of the model.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let base = Sequential::new().add(Input::new([4])).add(Dense::new(4).named("hidden")).build()?;
    /// let model = Sequential::new().add(base).add(Dense::new(2).named("top")).build()?;
    /// let names: Vec<_> = model.leaves().iter().map(|layer| layer.name().to_owned()).collect();
    /// assert_eq!(names, ["hidden", "top"]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn leaves(&self) -> Vec<Layer> {
        self.layers().iter().flat_map(Layer::leaves).collect()
    }

    /// The leaf layers by path: `conv`, or `base/conv` inside the nested model `base`. Keras allows no `/` in a layer's name.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let base = Sequential::with_name("base").add(Input::new([4])).add(Dense::new(4).named("hidden")).build()?;
    /// let model = Sequential::new().add(base).add(Dense::new(2).named("top")).build()?;
    /// let paths: Vec<_> = model.leaf_paths().into_iter().map(|(path, _)| path).collect();
    /// assert_eq!(paths, ["base/hidden", "top"]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn leaf_paths(&self) -> Vec<(String, Layer)> {
        self.layers().iter().flat_map(Layer::leaf_paths).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;

    #[test]
    fn models_nested_in_models_are_seen_through() {
        let inner = Sequential::with_name("inner").add(Input::new([4])).add(Dense::new(4).named("a"));
        let outer = Sequential::with_name("outer").add(inner.build().unwrap()).add(Dense::new(4).named("b"));
        let model = Sequential::new().add(outer.build().unwrap()).add(Dense::new(2).named("a")).build().unwrap();
        let (paths, layers): (Vec<String>, Vec<Layer>) = model.leaf_paths().into_iter().unzip();
        assert_eq!(paths, ["outer/inner/a", "outer/b", "a"]);
        assert_eq!(layers, model.leaves());
    }
}
