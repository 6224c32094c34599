//! Decodes photos and classifies them in batches, both at the same time.

use std::sync::mpsc::sync_channel;

use engraft::data::ColorMode;
use engraft::recipe::{Answer, Classifier};
use engraft::{Error, ErrorKind, Result, Tensor};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::failure::Failure;

/// The photos of a batch: enough for the speed of large matrix products, few enough for a small memory.
pub(crate) const BATCH: usize = 16;

/// Something that can be decoded to a photo.
pub(crate) trait Decode: Sync {
    /// The photo in this color mode, resized to `[height, width, channels]`.
    fn decode(&self, mode: ColorMode, image_size: [usize; 2]) -> Result<Vec<f32>>;
}

/// Receives a photo and its answer.
type Each<'a, P> = dyn FnMut(&P, Result<Answer>) -> std::result::Result<(), Failure> + 'a;

/// Calls `each` with every photo and its answer, in their order. Only a few batches are in memory at a time.
///
/// A photo that can't be read has an error as its answer.
///
/// # Errors
/// The model can't run, or an error of `each`.
pub(crate) fn classify<P: Decode>(
    classifier: &Classifier,
    photos: &[P],
    threads: &ThreadPool,
    each: &mut Each<'_, P>,
) -> std::result::Result<(), Failure> {
    std::thread::scope(|scope| {
        // One batch waits while another one is computed and a third one is decoded.
        let (sender, receiver) = sync_channel(1);
        scope.spawn(move || {
            for batch in photos.chunks(BATCH) {
                // Sending fails if the receiver was dropped, because of an error.
                if sender.send(threads.install(|| decode(classifier, batch))).is_err() {
                    return;
                }
            }
        });
        for batch in photos.chunks(BATCH) {
            let decoded = receiver.recv().map_err(|error| {
                Error::because("photos", "decoding ended unexpectedly").with_kind(ErrorKind::Internal).caused_by(error)
            })?;
            let answers = answers(classifier, decoded)?;
            batch.iter().zip(answers).try_for_each(|(photo, answer)| each(photo, answer))?;
        }
        Ok(())
    })
}

/// Indices in descending order of probability; equal probabilities stay in order.
pub(crate) fn ranked(probabilities: &[f32]) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..probabilities.len()).collect();
    classes.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    classes
}

/// The resized photos, `[height, width, channels]` each.
fn decode<P: Decode>(classifier: &Classifier, batch: &[P]) -> Vec<Result<Vec<f32>>> {
    let (mode, image_size) = (classifier.color_mode(), classifier.image_size());
    batch.par_iter().map(|photo| photo.decode(mode, image_size)).collect()
}

/// The answers for the photos that could be read, and the errors of the others, in their order.
fn answers(classifier: &Classifier, decoded: Vec<Result<Vec<f32>>>) -> Result<Vec<Result<Answer>>> {
    let ([height, width], channels) = (classifier.image_size(), classifier.color_mode().channels());
    let readable: Vec<&[f32]> = decoded.iter().flatten().map(Vec::as_slice).collect();
    let mut answers = match readable.len() {
        0 => Vec::new(),
        photos => classifier.answers(&Tensor::new([photos, height, width, channels], readable.concat())?)?,
    }
    .into_iter();
    let answer = |photo: Result<Vec<f32>>| match photo {
        Ok(_) => answers
            .next()
            .ok_or_else(|| Error::because("photos", "an answer is missing").with_kind(ErrorKind::Internal)),
        Err(error) => Err(error),
    };
    Ok(decoded.into_iter().map(answer).collect())
}
