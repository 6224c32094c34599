//! Mean and variance of features, for a `Normalization` layer.

use super::TrainingJob;
use super::features::name_of;
use crate::cache::FeatureCache;
use crate::recipe::{FeatureExtractor, Interrupt};
use crate::{Error, Layer, Model, Result, Weight};

/// Photos whose features are in memory at a time.
const CHUNK: usize = 1024;

impl TrainingJob<'_> {
    /// Sets mean and variance of a `Normalization` layer to those of its input on the training photos: Keras' `adapt`.
    ///
    /// Unlike Keras, a feature that is the same in all photos gets variance 1, as in scikit-learn's `StandardScaler`. Keras' 0 would
    /// multiply it by ten million in the first photo in which it differs.
    ///
    /// The photos are not augmented, and count the same whatever their class. With a [`cache`](Self::cache), the features are found
    /// there or stored there. Returns whether it finished: if an interrupt was requested, the layer stays as it is.
    ///
    /// ```
    /// use engraft::prelude::*;
    /// use engraft::recipe::{Interrupt, Phase, TrainingJob};
    /// # let folder = tempfile::tempdir()?;
    /// # for (class, grey) in [("dark", 20), ("light", 220)] {
    /// #     std::fs::create_dir_all(folder.path().join(class))?;
    /// #     let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
    /// #     bmp.extend([0; 24]);
    /// #     bmp.extend([grey; 8 * 8 * 3]);
    /// #     std::fs::write(folder.path().join(class).join("1.bmp"), bmp)?;
    /// # }
    /// # let photos = PhotoFolder::scan(folder.path(), &mut |_done, _total| {})?.photos;
    /// let layers = Sequential::new().add(Input::new([8, 8, 3])).add(GlobalAveragePooling2D::new());
    /// let model = layers.add(Normalization::adapted().named("scale")).add(Dense::new(2).activation(Softmax)).build()?;
    /// model.compile(Adam::new(0.05), Loss::categorical_crossentropy(), [])?;
    /// let classifier = Classifier::new(model, None)?;
    /// let phases = vec![Phase::first(classifier.model(), 6, 0)?];
    /// // Two grey photos, of brightness 20 and 220.
    /// let job = TrainingJob::new(&classifier, photos, Vec::new(), phases)?;
    /// assert!(job.adapt("scale", &Interrupt::new())?);
    /// let weights = classifier.model().get_layer("scale")?.weights();
    /// assert_eq!(*weights[0].values(), [120.0; 3]);
    /// assert_eq!(*weights[1].values(), [100.0 * 100.0; 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The model has no such layer, or it is no `Normalization` with weights; too little memory, or an error of the executor. A
    /// photo that can't be read is left out.
    pub fn adapt(&self, layer: &str, interrupt: &Interrupt) -> Result<bool> {
        let model = self.classifier.model();
        let call = model.graph().calls().iter().find(|call| call.layer().name() == layer);
        let call = call.ok_or_else(|| {
            Error::new(format_args!("adapt, model `{}`", model.name()), "a layer of the model", layer)
        })?;
        let (mean, variance) = statistics_of(call.layer())?;
        let below = Model::new(&model.inputs().to_vec(), &call.inputs()[0])?;
        let (runtime, cache) = (self.runtime_or_shared()?, self.cache.clone().unwrap_or_else(FeatureCache::off));
        let extractor = FeatureExtractor::new(&below, &name_of(self.classifier, &below), &runtime, &cache)?;
        let extractor = extractor.batch_size(self.batch_size);
        let mut moments = Moments::new(mean.values().len());
        let photos = self.training.dataset.photos();
        for (number, chunk) in photos.chunks(CHUNK).enumerate() {
            let mut progress = |done, _| (self.feature_progress)(number * CHUNK + done, photos.len());
            let Some(features) = extractor.extract(chunk, interrupt, &mut progress)? else { return Ok(false) };
            features.values.data().chunks_exact(moments.mean.len()).for_each(|row| moments.add(row));
        }
        if moments.rows > 0.0 {
            mean.set(moments.mean.iter().map(|&mean| mean as f32).collect())?;
            variance.set(moments.squares.iter().map(|&sum| moments.variance(sum)).collect())?;
            // Sessions that were made before have the old values.
            model.cache().clear();
        }
        Ok(true)
    }
}

/// Mean and variance of a `Normalization` layer.
fn statistics_of(layer: &Layer) -> Result<(Weight, Weight)> {
    match layer.own_weights() {
        [mean, variance, _count] if layer.class_name() == "Normalization" => Ok((mean.clone(), variance.clone())),
        _ => {
            let received = format!("{} with {} weights", layer.class_name(), layer.own_weights().len());
            Err(Error::new(format_args!("adapt, layer `{}`", layer.name()), "a Normalization with weights", received))
        }
    }
}

/// Mean and sum of squared deviations of each channel (Welford 1962, doi 10.1080/00401706.1962.10490022).
struct Moments {
    rows: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    fn new(channels: usize) -> Self {
        Self { rows: 0.0, mean: vec![0.0; channels], squares: vec![0.0; channels] }
    }

    fn add(&mut self, row: &[f32]) {
        self.rows += 1.0;
        for ((mean, squares), &value) in self.mean.iter_mut().zip(&mut self.squares).zip(row) {
            let deviation = f64::from(value) - *mean;
            *mean += deviation / self.rows;
            *squares += deviation * (f64::from(value) - *mean);
        }
    }

    /// The variance of a channel with this sum of squared deviations; 1 if it is constant.
    fn variance(&self, squares: f64) -> f32 {
        let variance = (squares / self.rows) as f32;
        if variance == 0.0 { 1.0 } else { variance }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_two_passes() {
        let rows: Vec<[f32; 2]> = (0..50).map(|row| [1000.0 + (row * row % 17) as f32, -0.5 * row as f32]).collect();
        let mut moments = Moments::new(2);
        rows.iter().for_each(|row| moments.add(row));
        for channel in 0..2 {
            let values = || rows.iter().map(|row| f64::from(row[channel]));
            let mean = values().sum::<f64>() / 50.0;
            let squares: f64 = values().map(|value| (value - mean).powi(2)).sum();
            assert!((moments.mean[channel] - mean).abs() < 1e-9);
            assert!((moments.squares[channel] / squares - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_constant_channel_has_variance_1() {
        let mut moments = Moments::new(2);
        [[0.1, 3.0], [0.1, 5.0], [0.1, 7.0]].iter().for_each(|row| moments.add(row));
        let variances: Vec<f32> = moments.squares.iter().map(|&squares| moments.variance(squares)).collect();
        assert_eq!(variances, [1.0, 8.0 / 3.0]);
    }
}
