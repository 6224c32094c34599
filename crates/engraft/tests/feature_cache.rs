//! Features of photos, computed once and found in the cache later.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use engraft::cache::FeatureCache;
use engraft::data::{Photo, SkippedFile};
use engraft::prelude::*;
use engraft::random::Rng;
use engraft::recipe::{Backbone, FeatureDataset, FeatureExtractor, Partition, PhotoFeatures};
use engraft::{ErrorKind, Result, Trainability};
use tempfile::TempDir;

/// A folder with photos of two classes, and a cache beside it.
struct Place(TempDir);

impl Place {
    fn new(photos: usize) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let mut rng = Rng::new(3);
        for number in 0..photos {
            let pixels: Vec<u8> = (0..12 * 12 * 3).map(|_| rng.below(256) as u8).collect();
            let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x0c\0\0\0\x0c\0\0\0\x01\0\x18\0".to_vec();
            bmp.extend([0; 24]);
            bmp.extend(pixels);
            place.write(&format!("{}/{number:03}.bmp", ["cat", "dog"][number % 2]), &bmp);
        }
        place
    }

    fn photos(&self) -> PathBuf {
        self.0.path().join("photos")
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.photos().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The cache as another process opens it.
    fn cache(&self) -> FeatureCache {
        FeatureCache::new(self.0.path().join("features"), 1 << 30)
    }

    /// Hashes the photos without decoding them.
    fn scan(&self) -> PhotoFolder {
        PhotoFolder::scan_knowing(&self.photos(), &|_| true, &mut |_, _| {}).unwrap()
    }
}

/// A network with all kinds of frozen layers, `[8, 8, 3]` to `[5]`. Each call gives the same weights.
fn network() -> Model {
    let kernel = |seed| engraft::Initializer::RandomUniform { minval: -0.3, maxval: 0.3, seed: Some(seed) };
    let conv = |seed| Conv2D::new(5, 3).padding(Padding::Same).kernel_initializer(kernel(seed)).activation(Relu);
    let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Rescaling::new(1.0 / 127.5).offset(-1.0));
    let layers = layers.add(conv(1)).add(BatchNormalization::new()).add(MaxPooling2D::new(2)).add(conv(2));
    layers.add(GlobalAveragePooling2D::new()).build().unwrap()
}

fn runtime(threads: usize) -> Runtime {
    Runtime::cpu(Some(threads)).unwrap()
}

fn extractor(cache: &FeatureCache) -> FeatureExtractor {
    FeatureExtractor::new(&network(), "a network, 8 x 8", &runtime(2), cache).unwrap()
}

fn extract(extractor: &FeatureExtractor, photos: &[Photo]) -> PhotoFeatures {
    extractor.extract(photos, &Interrupt::new(), &mut |_, _| {}).unwrap().unwrap()
}

#[test]
fn a_second_run_decodes_nothing_and_has_the_same_bits() {
    let place = Place::new(50);
    let photos = place.scan().photos;
    let first = extract(&extractor(&place.cache()), &photos);
    assert_eq!((first.decoded, first.values.shape(), first.photos == photos), (50, &[50, 5][..], true));
    let second = extract(&extractor(&place.cache()), &photos);
    assert_eq!((second.decoded, &second.values), (0, &first.values));

    // A copy elsewhere is the same photo, and a new photo is decoded alone.
    place.write("dog/copy.bmp", &fs::read(&photos[0].path).unwrap());
    let mut changed = fs::read(&photos[0].path).unwrap();
    changed[100] ^= 0xff;
    place.write("dog/new.bmp", &changed);
    let third = extract(&extractor(&place.cache()), &place.scan().photos);
    assert_eq!((third.decoded, third.values.shape()), (1, &[52, 5][..]));
    assert_eq!(third.row(50, 0), first.row(0, 0));
    assert_ne!(third.row(51, 0), first.row(0, 0));

    let off = extract(&extractor(&FeatureCache::off()), &photos);
    assert_eq!((off.decoded, off.values), (50, first.values));
}

/// Files that no decoder can read, and features under their digests: neither the scan nor the extractor opens them as photos.
#[test]
fn a_photo_whose_features_are_cached_is_decoded_neither_by_the_scan_nor_later() {
    let place = Place::new(0);
    ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg"].iter().for_each(|name| place.write(name, name.as_bytes()));
    let extractor_of = |cache: &FeatureCache| extractor(cache);
    let features = place.cache().open(extractor_of(&place.cache()).key(), "", 5);
    place.scan().photos.iter().for_each(|photo| features.put(&photo.digest, 0, &[photo.labels[0] as f32; 5]));
    drop(features);

    let extractor = extractor_of(&place.cache());
    let known = |digest: &[u8; 32]| extractor.knows(digest);
    let folder = PhotoFolder::scan_knowing(&place.photos(), &known, &mut |_, _| {}).unwrap();
    assert_eq!((folder.photos.len(), folder.skipped.len()), (3, 0));
    let found = extract(&extractor, &folder.photos);
    assert_eq!((found.decoded, found.skipped.len()), (0, 0));
    assert_eq!(found.values.data(), [[0.0; 5], [0.0; 5], [1.0; 5]].concat());
    // Without the features, all three are skipped.
    assert!(PhotoFolder::scan(&place.photos(), &mut |_, _| {}).is_err());
}

#[test]
fn bits_depend_on_neither_batches_nor_threads() {
    let place = Place::new(23);
    let photos = place.scan().photos;
    let mut alone: Vec<f32> = Vec::new();
    for photo in &photos {
        let pixels = photo.decode().unwrap().resize(8, 8);
        alone.extend(network().predict(&Tensor::new([1, 8, 8, 3], pixels).unwrap(), 1).unwrap().into_data());
    }
    for (batch, threads) in [(1, 1), (2, 3), (7, 2), (23, 1), (64, 2)] {
        let extractor = FeatureExtractor::new(&network(), "", &runtime(threads), &FeatureCache::off()).unwrap();
        assert_eq!(extract(&extractor.batch_size(batch), &photos).values.data(), alone, "{batch} {threads}");
    }
}

#[test]
fn unreadable_photos_are_skipped_in_the_words_of_the_scan() {
    let place = Place::new(6);
    place.write("cat/00_note.jpg", b"just a note");
    place.write("dog/empty.png", b"");
    let scanned = PhotoFolder::scan(&place.photos(), &mut |_, _| {}).unwrap();

    let mut folder = place.scan();
    assert_eq!(folder.photos.len(), 8);
    let features = extract(&extractor(&place.cache()), &folder.photos);
    folder.skip(&place.photos(), features.skipped.clone()).unwrap();
    assert_eq!(folder, scanned);
    assert_eq!((&features.photos, features.decoded), (&scanned.photos, 6));
    assert_eq!(features.values, extract(&extractor(&FeatureCache::off()), &scanned.photos).values);

    // A class without readable photos is the error of the scan.
    place.write("emu/note.jpg", b"a note");
    let expected = PhotoFolder::scan(&place.photos(), &mut |_, _| {}).unwrap_err();
    let mut folder = place.scan();
    let features = extract(&extractor(&place.cache()), &folder.photos);
    assert_eq!(folder.skip(&place.photos(), features.skipped).unwrap_err(), expected);
}

#[test]
fn a_file_that_changed_after_the_scan_is_not_taken_for_the_old_one() {
    let place = Place::new(4);
    let photos = place.scan().photos;
    fs::copy(&photos[0].path, &photos[1].path).unwrap();
    fs::remove_file(&photos[2].path).unwrap();
    let features = extract(&extractor(&place.cache()), &photos);
    assert_eq!(features.photos, [photos[0].clone(), photos[3].clone()]);
    let reasons: Vec<&str> = features.skipped.iter().map(|file| file.reason.as_str()).collect();
    assert!(reasons[0].contains("changed since") && reasons[1] == "not found", "{reasons:?}");
    let error = engraft::Error::from(SkippedFile::clone(&features.skipped[1]));
    assert_eq!((error.kind(), error.to_string().ends_with("not found")), (ErrorKind::InvalidData, true));
    assert!(!extractor(&place.cache()).knows(&photos[1].digest));
}

#[test]
fn an_interrupted_pass_goes_on_where_it_stopped() {
    let place = Place::new(20);
    let photos = place.scan().photos;
    let interrupt = Interrupt::new();
    let mut calls = Vec::new();
    let stopped = extractor(&place.cache()).batch_size(4).extract(&photos, &interrupt, &mut |done, total| {
        calls.push((done, total));
        if done == 8 {
            interrupt.request();
        }
    });
    assert!(stopped.unwrap().is_none());
    assert_eq!(calls, [(0, 20), (0, 20), (4, 20), (8, 20)]);
    let mut calls = Vec::new();
    let extractor = extractor(&place.cache()).batch_size(8);
    let rest = extractor.extract(&photos, &Interrupt::new(), &mut |done, _| calls.push(done)).unwrap().unwrap();
    assert_eq!((rest.decoded, calls), (12, vec![0, 8, 16, 20]));
}

#[test]
fn features_that_do_not_fit_into_memory_are_refused() {
    let place = Place::new(2);
    let photos = vec![place.scan().photos.remove(0); 400_000];
    let runtime = runtime(1).memory_limit(Some(50 << 20));
    let extractor = FeatureExtractor::new(&network(), "", &runtime, &FeatureCache::off()).unwrap();
    let error = extractor.extract(&photos, &Interrupt::new(), &mut |_, _| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(error.to_string().contains("8000000 bytes for 400000 photos, [5] numbers each"), "{error}");
}

#[test]
fn what_is_no_network_of_photos_is_an_error() {
    let error =
        |model: &Model| FeatureExtractor::new(model, "", &runtime(1), &FeatureCache::off()).unwrap_err().to_string();
    let x = Input::new([4]);
    assert!(error(&Model::new(&x, &Dense::new(2).call(&x).unwrap()).unwrap()).contains("received [4]"));
    let x = Input::new([4, 4, 3]);
    let y = Flatten::new().call(&x).unwrap();
    assert!(error(&Model::new(&x, [&y, &x]).unwrap()).contains("received 1 and 2"));
}

/// Augmentation, the frozen [`network`] and a head.
fn classifier() -> Model {
    let augment =
        Sequential::new().add(RandomFlip::horizontal()).add(RandomRotation::new(0.2)).add(RandomZoom::new(0.2));
    let (x, base) = (Input::new([8, 8, 3]), network());
    base.set_trainable(false);
    let y = base.call(&augment.call(&x).unwrap()).unwrap();
    let y = Dense::new(2).activation(Softmax).call(&Dropout::new(0.2).call(&y).unwrap()).unwrap();
    let model = Model::new(&x, &y).unwrap();
    model.compile(Adam::new(0.01), Loss::categorical_crossentropy(), [Metric::Accuracy]).unwrap();
    model
}

fn variants_of(model: &Model, variants: usize, cache: &FeatureCache) -> Result<FeatureExtractor> {
    let partition = Partition::with_variants(model, &Trainability::of(model))?.unwrap();
    FeatureExtractor::of_partition(&partition, variants, "a classifier, 8 x 8", &runtime(2), cache)
}

#[test]
fn variants_depend_on_the_photo_alone() {
    let place = Place::new(10);
    let photos = place.scan().photos;
    let model = classifier();
    let first = extract(&variants_of(&model, 3, &place.cache()).unwrap(), &photos);
    assert_eq!((first.values.shape(), first.decoded), (&[30, 5][..], 10));
    // Variant 0 is the photo, and is shared with the network without augmentation.
    let plain = extract(&extractor(&place.cache()), &photos);
    assert_eq!(plain.decoded, 0);
    for photo in 0..10 {
        assert_eq!(first.row(photo, 0), plain.row(photo, 0));
        assert!(first.row(photo, 1) != first.row(photo, 0) && first.row(photo, 1) != first.row(photo, 2));
    }

    // Other photos in another order, in other batches, of another model with the same layers.
    let reversed: Vec<Photo> = photos.iter().rev().skip(3).cloned().collect();
    let other = variants_of(&classifier(), 3, &FeatureCache::off()).unwrap().batch_size(2);
    let other = extract(&other, &reversed);
    for (photo, variant) in (0..7).flat_map(|photo| (0..3).map(move |variant| (photo, variant))) {
        assert_eq!(other.row(photo, variant), first.row(6 - photo, variant));
    }

    // More variants: the first ones are found.
    let more = variants_of(&classifier(), 4, &place.cache()).unwrap();
    assert!(!more.knows(&photos[0].digest));
    let more = extract(&more, &photos);
    assert_eq!((more.decoded, more.row(9, 2)), (10, first.row(9, 2)));
    assert_eq!(extract(&variants_of(&model, 4, &place.cache()).unwrap(), &photos).decoded, 0);
    let error = variants_of(&model, 0, &place.cache()).unwrap_err().to_string();
    assert!(error.contains("variants: expected at least 1, received 0"), "{error}");
}

#[test]
fn a_head_is_trained_on_cached_variants() {
    let place = Place::new(16);
    let photos = place.scan().photos;
    let model = classifier();
    let partition = Partition::with_variants(&model, &Trainability::of(&model)).unwrap().unwrap();
    let features = |variants| extract(&variants_of(&model, variants, &place.cache()).unwrap(), &photos);
    let (training, validation) =
        (FeatureDataset::new(features(4), 2).unwrap(), FeatureDataset::new(features(1), 2).unwrap());
    partition.upper.set_compiled(model.compiled());
    let frozen: Vec<Vec<f32>> = partition.lower.weights().iter().map(|weight| weight.values().clone()).collect();
    let before = model.evaluate(&PhotoDataset::new(photos.clone(), 2, [8, 8]).unwrap(), 32).unwrap();
    let fit = Fit::new().epochs(8).batch_size(4).validation(&validation);
    let history = partition.upper.fit(&training, fit).unwrap();
    model.set_compiled(partition.upper.compiled());

    assert!(partition.lower.weights().iter().zip(&frozen).all(|(weight, before)| *weight.values() == *before));
    // The validation loss on cached features is that of the model on the photos, to the last bit of a mean.
    let after = model.evaluate(&PhotoDataset::new(photos, 2, [8, 8]).unwrap(), 32).unwrap();
    assert!((after.loss - history.last("val_loss").unwrap()).abs() < 1e-6);
    assert!(after.loss < before.loss, "{} and {}", after.loss, before.loss);
    assert_eq!(model.compiled().unwrap().state.iterations(), 32);
}

/// The recipe's own backbones, with a convolution between normalizations on both sides of the boundary.
#[test]
fn backbones_are_cut_where_fine_tuning_begins() {
    let (vgg16, lite) = (Recipe::new(3), Recipe::with_backbone(Backbone::EFFICIENTNET_LITE0, 3));
    let mut rng = Rng::new(5);
    let x = Tensor::new([2, 64, 64, 3], (0..2 * 64 * 64 * 3).map(|_| rng.uniform(0.0, 255.0)).collect()).unwrap();
    for (recipe, freeze, boundary) in [
        (&vgg16, Freeze::All, vec![2 * 2 * 512]),
        (&vgg16, Freeze::Before("block5_conv1".into()), vec![4, 4, 512]),
        (&lite, Freeze::All, vec![1280]),
        (&lite, Freeze::Before("top_conv".into()), vec![2, 2, 320]),
    ] {
        let recipe = Recipe { image_size: 64, augment: Augment::none(), head: vec![], freeze, ..recipe.clone() };
        let model = recipe.weights("none").build(Box::new(|_, _| {})).unwrap();
        let parts = Partition::of(&model, &Trainability::of(&model)).unwrap().unwrap();
        assert_eq!(parts.lower.output_shape(), &boundary);
        let features = parts.lower.predict(&x, 1).unwrap();
        assert_eq!(parts.upper.predict(&features, 2).unwrap(), model.predict(&x, 2).unwrap(), "{boundary:?}");
    }
}

#[test]
fn the_cache_of_the_environment_is_beside_the_weights() {
    let cache = engraft::recipe::feature_cache().unwrap();
    let hub = engraft::hub::Hub::from_env().unwrap();
    assert!(cache.folder().is_none_or(|folder| folder.parent() == Some(Path::new(&hub.cache))));
}
