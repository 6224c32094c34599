//! A job with a feature cache: bit for bit the job without one, and a second run that reads no photo.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;

use engraft::cache::FeatureCache;
use engraft::data::Photo;
use engraft::linear::ClassWeights;
use engraft::prelude::*;
use engraft::random::Rng;
use engraft::recipe::{Interrupt, Outcome, Phase, TrainingJob, TrainingReport};
use engraft::{Error, Initializer, Result};

use crate::support::{AtEndOf, weights};

/// Twelve photos of two classes, of noise.
fn photos(folder: &Path) -> Vec<Photo> {
    let mut rng = Rng::new(5);
    for number in 0..12 {
        let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
        bmp.extend([0; 24]);
        bmp.extend((0..8 * 8 * 3).map(|_| rng.below(256) as u8));
        let class = folder.join(["cat", "dog"][number % 2]);
        fs::create_dir_all(&class).unwrap();
        fs::write(class.join(format!("{number:02}.bmp")), bmp).unwrap();
    }
    PhotoFolder::scan(folder, &mut |_done, _total| {}).unwrap().photos
}

/// Saves two convolutional blocks and a head. The blocks are frozen, and `augment` comes before them.
fn save_start(file: &Path, augment: Option<Sequential>) {
    let kernel = |seed| Initializer::RandomUniform { minval: -0.4, maxval: 0.4, seed: Some(seed) };
    let conv = |seed| Conv2D::new(5, 3).padding(Padding::Same).kernel_initializer(kernel(seed)).activation(Relu);
    let layers = Sequential::new().add(Input::new([8, 8, 3]));
    let layers = match augment {
        Some(augment) => layers.add(augment),
        None => layers,
    };
    let layers = layers.add(Rescaling::new(1.0 / 127.5).offset(-1.0)).add(conv(1).named("block1"));
    let layers = layers.add(BatchNormalization::new().named("norm1")).add(MaxPooling2D::new(2));
    let layers = layers.add(conv(2).named("block2")).add(BatchNormalization::new().named("norm2"));
    let layers = layers.add(GlobalAveragePooling2D::new()).add(Dropout::new(0.3));
    let model = layers.add(Dense::new(2).kernel_initializer(kernel(3)).activation(Softmax).named("top"));
    let model = model.build().unwrap();
    for layer in ["block1", "norm1", "block2", "norm2"] {
        model.get_layer(layer).unwrap().set_trainable(false);
    }
    model.compile(Adam::new(0.01), Loss::categorical_crossentropy(), [Metric::Accuracy]).unwrap();
    Classifier::new(model, None).unwrap().save_with(file, true).unwrap();
}

/// The saved classifier. The first phase trains the head, the second the last block as well.
fn start(file: &Path) -> (Classifier, Vec<Phase>) {
    let classifier = Classifier::load(file).unwrap();
    let first = Phase::first(classifier.model(), 3, 0).unwrap();
    let second = first.fine_tuning(classifier.model(), &Freeze::Before("block2".into()), 2, None).unwrap();
    (classifier, vec![first, second])
}

/// Halves the learning rate after the first epoch of each phase.
fn halves_the_rate() -> Option<Box<dyn Callback>> {
    struct Halves;

    impl Callback for Halves {
        fn on_epoch_end(&mut self, end: &EpochEnd<'_>, training: &mut Training<'_>) -> Result<()> {
            let rate = training.learning_rate();
            if end.epoch == 0 { training.set_learning_rate(rate / 2.0) } else { Ok(()) }
        }
    }

    Some(Box::new(Halves))
}

/// A job that saves the optimizer's state too. The first photos are the validation set.
fn job<'a>(
    (classifier, phases): &'a (Classifier, Vec<Phase>),
    photos: &[Photo],
    validation: usize,
    file: &Path,
) -> TrainingJob<'a> {
    let (validation, training) = photos.split_at(validation);
    let job = TrainingJob::new(classifier, training.to_vec(), validation.to_vec(), phases.clone()).unwrap();
    job.batch_size(4).runtime(&Runtime::cpu(Some(1)).unwrap()).save_to(file, true)
}

fn run(job: &TrainingJob<'_>) -> TrainingReport {
    job.run(&Interrupt::new(), &mut |_| halves_the_rate())
}

/// Names and contents of the entries of a `.keras` file, except `metadata.json`, which has the date.
fn entries(file: &Path) -> Vec<(String, Vec<u8>)> {
    let mut zip = zip::ZipArchive::new(fs::File::open(file).unwrap()).unwrap();
    let entries = (0..zip.len()).map(|index| {
        let mut entry = zip.by_index(index).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.name().unwrap().into_owned(), content)
    });
    entries.filter(|(name, _)| name != "metadata.json").collect()
}

/// Each number of a history, by its bits.
fn bits(report: &TrainingReport) -> Vec<Vec<u64>> {
    let numbers = ["loss", "accuracy", "val_loss", "val_accuracy"].map(|name| report.history.get(name));
    numbers.map(|numbers| numbers.iter().map(|number| number.to_bits()).collect()).to_vec()
}

/// Counts the calls of the progress callback, and keeps the last one.
type Calls = Mutex<(usize, (usize, usize))>;

fn count(calls: &Calls) -> impl Fn(usize, usize) + Send + Sync {
    |done, total| {
        let mut calls = calls.lock().unwrap();
        *calls = (calls.0 + 1, (done, total));
    }
}

#[test]
fn history_and_files_have_the_bits_of_training_on_photos_and_a_second_run_reads_no_photo() {
    let runtime = Runtime::cpu(Some(1)).unwrap();
    // Not each CPU can compute in bf16.
    let bf16 = runtime.clone().precision(Precision::Bf16).ok();
    let in_bf16 = bf16.iter().map(|bf16| (4, bf16));
    for (validation, runtime) in [(4, &runtime), (0, &runtime)].into_iter().chain(in_bf16) {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        let photos = photos(&path("photos"));
        save_start(&path("start.keras"), None);
        let (plain, file) = (start(&path("start.keras")), path("plain.keras"));
        let plain_job = job(&plain, &photos, validation, &file).runtime(runtime);
        let expected = run(&plain_job);
        assert_eq!(expected.outcome.as_ref().unwrap(), &Outcome::Complete);
        assert_eq!(expected.history.epochs(), 5);

        for pass in ["computed", "found"] {
            let (cached, calls) = (start(&path("start.keras")), Calls::default());
            // As another process opens it.
            let cache = FeatureCache::new(path("features"), 1 << 30);
            let file_of_cached = path("cached.keras");
            let cached_job = job(&cached, &photos, validation, &file_of_cached).runtime(runtime).cache(cache.clone());
            let cached_job = cached_job.on_features(count(&calls));
            let report = run(&cached_job);
            assert_eq!(report.outcome.as_ref().unwrap(), &Outcome::Complete, "{pass}");
            // One network up to the pooling below Dropout, one up to the last block.
            assert_eq!(cache.list().unwrap().networks.len(), 2);
            assert_eq!(calls.lock().unwrap().1, (12, 12));
            assert_eq!(bits(&report), bits(&expected), "{pass}");
            assert_eq!(weights(cached.0.model()), weights(plain.0.model()), "{pass}");
            assert!(entries(&file_of_cached) == entries(&file), "{pass}");
            if let (Some(best), Some(expected)) = (cached_job.best_path(), plain_job.best_path()) {
                assert!(entries(&best) == entries(&expected), "{pass}");
            }
            // Without photos, only a job that finds all features can run.
            if pass == "computed" {
                fs::remove_dir_all(path("photos")).unwrap();
            }
        }
        let without_photos = start(&path("start.keras"));
        assert!(run(&job(&without_photos, &photos, validation, &file).runtime(runtime)).outcome.is_err());
    }
}

#[test]
fn balanced_classes_count_the_same_on_features_and_on_photos() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    let photos = photos(&path("photos"));
    save_start(&path("start.keras"), None);
    // The validation set has four cats, so that two cats and six dogs are left.
    let trained = |class_weights, cached: bool| {
        let (of, file) = (start(&path("start.keras")), path("m.keras"));
        let job = job(&of, &photos, 4, &file).class_weights(class_weights);
        let weights_of_classes = job.weight_of_classes().map(<[f32]>::to_vec);
        let report = run(&if cached { job.cache(FeatureCache::off()) } else { job });
        report.outcome.as_ref().unwrap();
        (bits(&report), weights(of.0.model()), weights_of_classes)
    };
    let balanced = trained(ClassWeights::Balanced, false);
    assert_eq!(balanced.2, Some(vec![8.0 / 4.0, 8.0 / 12.0]));
    assert_eq!(trained(ClassWeights::Balanced, true), balanced);
    let plain = trained(ClassWeights::None, true);
    assert_eq!(plain.2, None);
    assert_ne!(plain.1, balanced.1);
}

#[test]
fn what_features_cannot_do_is_as_without_a_cache() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    let photos = photos(&path("photos"));
    let outcome = |start_file: &Path, cached: bool, change: &dyn Fn(TrainingJob<'_>) -> TrainingReport| {
        let (of, file, calls) = (start(start_file), path("model.keras"), Calls::default());
        let job = job(&of, &photos, 4, &file);
        let job = if cached { job.cache(FeatureCache::off()).on_features(count(&calls)) } else { job };
        let report = change(job);
        let outcome = report.outcome.as_ref().map_err(Error::to_string).cloned();
        let calls = calls.lock().unwrap().0;
        (outcome, bits(&report), weights(of.0.model()), calls)
    };
    let same = |start_file: &Path, change: &dyn Fn(TrainingJob<'_>) -> TrainingReport| {
        let (plain, cached) = (outcome(start_file, false, change), outcome(start_file, true, change));
        assert_eq!((&cached.0, &cached.1, &cached.2), (&plain.0, &plain.1, &plain.2));
        (cached.0, cached.3)
    };
    save_start(&path("start.keras"), None);
    save_start(&path("augmented.keras"), Some(Sequential::new().add(RandomFlip::horizontal().seed(1))));

    // Augmentation: no features.
    assert_eq!(same(&path("augmented.keras"), &|job| run(&job)), (Ok(Outcome::Complete), 0));

    // In inference, a trained normalization is folded into the frozen convolution below it.
    let (unfrozen, _) = start(&path("start.keras"));
    for layer in ["norm1", "block2", "norm2"] {
        unfrozen.model().get_layer(layer).unwrap().set_trainable(true);
    }
    unfrozen.save_with(&path("unfrozen.keras"), true).unwrap();
    assert_eq!(same(&path("unfrozen.keras"), &|job| run(&job)).0, Ok(Outcome::Complete));

    // An interrupt stops both after a step.
    let stopped = Outcome::Interrupted { phase: 0, epoch: 0, step: 0 };
    let interrupted = same(&path("start.keras"), &|job| {
        let interrupt = Interrupt::new();
        interrupt.request();
        job.run(&interrupt, &mut |_| None)
    });
    assert_eq!(interrupted.0, Ok(stopped));

    // An error in the second epoch leaves the same weights.
    let failed = same(&path("start.keras"), &|job| {
        let fails = || Err(Error::because("callback", "fails"));
        job.run(&Interrupt::new(), &mut |_| Some(Box::new(AtEndOf { epoch: 1, work: fails })))
    });
    assert!(failed.0.unwrap_err().contains("callback: fails") && failed.1 > 0);

    // A photo that can't be read.
    fs::write(&photos[7].path, "no photo").unwrap();
    let unreadable = same(&path("start.keras"), &|job| run(&job));
    assert!(unreadable.0.unwrap_err().contains("photos"), "the error names the file");
}

#[test]
fn features_that_need_more_than_half_of_the_memory_are_not_computed() {
    let home = tempfile::tempdir().unwrap();
    let (photos, file) = (photos(&home.path().join("photos")), home.path().join("model.keras"));
    save_start(&file, None);
    let (classifier, phases) = start(&file);
    let of = (classifier, vec![Phase { epochs: 1, ..phases[1].clone() }]);
    let peak = job(&of, &photos, 0, &file).memory().unwrap()[0].total();
    // Features of the last block: 4 x 4 x 5 numbers a photo, in all as many bytes as training on photos needs.
    let many: Vec<Photo> = photos.iter().cycle().take(peak / (4 * 4 * 5 * size_of::<f32>())).cloned().collect();
    let calls_with = |available: usize| {
        let (runtime, large) = (Runtime::cpu(Some(1)).unwrap(), 64 << 20);
        let reserved = large - runtime.clone().memory_limit(Some(large)).available_memory().unwrap();
        let (runtime, calls) = (runtime.memory_limit(Some(reserved + available)), Calls::default());
        let job = job(&of, &many, 0, &file).runtime(&runtime).cache(FeatureCache::off());
        run(&job.on_features(count(&calls))).outcome.unwrap();
        calls.into_inner().unwrap().0
    };
    assert_eq!(calls_with(peak * 3 / 2), 0);
    assert!(calls_with(peak * 3) > 0);
}

#[test]
fn memory_is_that_of_the_features_and_the_layers_above_them() {
    let home = tempfile::tempdir().unwrap();
    let (photos, file) = (photos(&home.path().join("photos")), home.path().join("model.keras"));
    save_start(&file, None);
    let of = start(&file);
    let on_photos = job(&of, &photos, 4, &file).memory().unwrap();
    let on_features = job(&of, &photos, 4, &file).cache(FeatureCache::off()).memory().unwrap();
    // The pooled output of 5 numbers, and the input of the last block, for each of the 12 photos.
    let features = [12 * 5 * size_of::<f32>(), 12 * 4 * 4 * 5 * size_of::<f32>()];
    for ((on_features, on_photos), features) in on_features.iter().zip(&on_photos).zip(features) {
        assert_eq!((on_features.features, on_photos.features), (features, 0));
        assert!(on_features.total() - features < on_photos.total(), "{on_features} and {on_photos}");
        assert!(on_features.weights <= on_photos.weights);
    }
}

#[test]
fn fixed_variants_need_augmentation_and_train_on_features() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    let photos = photos(&path("photos"));
    save_start(&path("plain.keras"), None);
    save_start(&path("augmented.keras"), Some(Sequential::new().add(RandomFlip::horizontal().seed(1))));
    let of = start(&path("plain.keras"));
    let cache = FeatureCache::new(path("features"), 1 << 30);
    let report = run(&job(&of, &photos, 4, &path("m.keras")).cache(cache.clone()).augment_variants(3));
    assert!(report.outcome.unwrap_err().to_string().contains("no random layer lies below the boundary, received 3"));

    let histories = [(); 2].map(|()| {
        let of = start(&path("augmented.keras"));
        let report = run(&job(&of, &photos, 4, &path("m.keras")).cache(cache.clone()).augment_variants(3));
        assert_eq!(report.outcome.as_ref().unwrap(), &Outcome::Complete);
        bits(&report)
    });
    assert_eq!(histories[0], histories[1], "computed and found");
    // Two phases, each with the photos themselves and with augmented ones.
    assert_eq!(cache.list().unwrap().networks.len(), 4);
}
