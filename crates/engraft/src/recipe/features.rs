//! Computes the features of photos once, and finds them in the cache in later runs.

mod dataset;
mod key;
mod variants;

use std::sync::mpsc::sync_channel;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

pub use self::dataset::FeatureDataset;
use self::key::network_key;
use self::variants::Augmentation;
use super::macs::macs;
use super::{Interrupt, Partition};
use crate::cache::{FeatureCache, NetworkFeatures};
use crate::data::{ColorMode, Photo, SkippedFile};
use crate::hub::Hub;
use crate::plan::{Plan, PlanOptions, Purpose, Session};
use crate::runtime::{Runtime, predict_in_batches};
use crate::{Error, ErrorKind, Model, Program, Result, Shape, Tensor};

/// The multiply-accumulates of a batch: with few threads, a second or a few. Progress and Ctrl-C come between batches.
const MACS_PER_BATCH: f64 = 2.5e11;

/// Photos whose cached features are read at a time, between two calls of `progress`.
const LOOK_UP: usize = 1024;

/// The feature cache of the environment: the folder `features` in the cache folder of [`Hub::from_env`].
///
/// Its limit is `$ENGRAFT_FEATURE_CACHE`: a size such as `500MiB`, or `off`; 2 GiB by default. Without a home folder the cache is
/// off, and its [`note`](FeatureCache::note) tells it.
///
/// ```
/// use engraft::recipe::feature_cache;
/// let cache = feature_cache()?;
/// println!("{:?}, at most {:?} bytes", cache.folder(), cache.limit());
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// The variable is neither a size nor `off`.
pub fn feature_cache() -> Result<FeatureCache> {
    let folder = Hub::from_env().ok().map(|hub| hub.cache);
    FeatureCache::from_env(folder.as_deref()).map_err(|error| Error::from_source("ENGRAFT_FEATURE_CACHE", error))
}

/// Computes the outputs of a network for photos, each once: later runs find them in the cache.
///
/// A photo whose features are cached is not decoded. Cached features have the bits of computed ones, whatever the batch size and
/// the number of threads.
///
/// ```
/// use engraft::cache::FeatureCache;
/// use engraft::prelude::*;
/// use engraft::recipe::FeatureExtractor;
/// # let home = tempfile::tempdir()?;
/// # let photos = home.path().join("photos");
/// # for (class, grey) in [("dark", 20), ("light", 220)] {
/// #     std::fs::create_dir_all(photos.join(class))?;
/// #     for photo in 0..4 {
/// #         let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
/// #         bmp.extend([0; 24]);
/// #         bmp.extend([grey + photo as u8; 8 * 8 * 3]);
/// #         std::fs::write(photos.join(class).join(format!("{photo}.bmp")), bmp)?;
/// #     }
/// # }
/// let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Conv2D::new(4, 3)).add(GlobalAveragePooling2D::new());
/// let (network, runtime) = (layers.build()?, Runtime::shared()?);
/// let cache = FeatureCache::new(home.path().join("features"), 1 << 30);
///
/// // Two runs. The scan leaves decoding to the extractor.
/// for decoded in [8, 0] {
///     let extractor = FeatureExtractor::new(&network, "my network, 8 x 8", &runtime, &cache)?;
///     let mut folder = PhotoFolder::scan_knowing(&photos, &|_digest| true, &mut |_done, _total| {})?;
///     let features = extractor.extract(&folder.photos, &Interrupt::new(), &mut |_done, _total| {})?;
///     let features = features.expect("not interrupted");
///     folder.skip(&photos, features.skipped.clone())?;
///     assert_eq!((features.values.shape(), features.decoded), (&[8, 4][..], decoded));
/// }
/// if let Some(note) = cache.note() {
///     eprintln!("features aren't stored: {note}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FeatureExtractor {
    runtime: Runtime,
    batch_size: usize,
    image_size: [usize; 2],
    color_mode: ColorMode,
    shape: Shape,
    /// The whole network, for the photos themselves: variant 0.
    plain: Network,
    /// For the other variants; `None` without them.
    augmented: Option<(Augmentation, Network)>,
    variants: usize,
}

/// A program with one input and one output, and its cached outputs.
#[derive(Debug)]
struct Network {
    program: Program,
    key: [u8; 32],
    cached: NetworkFeatures,
}

/// The features of photos.
///
/// ```
/// use engraft::Tensor;
/// use engraft::data::Photo;
/// use engraft::recipe::PhotoFeatures;
/// let photos = vec![Photo { path: "cat/1.jpg".into(), labels: vec![0], digest: [1; 32] }];
/// // Four numbers for the photo itself, and four for another variant of it.
/// let values = Tensor::new([2, 4], vec![0.5; 8])?;
/// let features = PhotoFeatures { photos, values, variants: 2, skipped: Vec::new(), decoded: 1 };
/// assert_eq!(features.row(0, 1), [0.5; 4]);
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PhotoFeatures {
    /// The photos that could be read, in their order.
    pub photos: Vec<Photo>,
    /// `[photos * variants, ...]`: the variants of a photo follow each other.
    pub values: Tensor,
    /// Variants of each photo. The first is the photo itself.
    pub variants: usize,
    /// The photos that couldn't be decoded, with the reasons that a scan gives.
    pub skipped: Vec<SkippedFile>,
    /// The number of photos that were decoded, because some of their features weren't cached.
    pub decoded: usize,
}

impl PhotoFeatures {
    /// The features of a variant of a photo.
    ///
    /// # Panics
    /// If there is no such photo or variant.
    pub fn row(&self, photo: usize, variant: usize) -> &[f32] {
        assert!(variant < self.variants, "variant {variant} of {}", self.variants);
        self.values.row(photo * self.variants + variant)
    }
}

impl FeatureExtractor {
    /// An extractor of the outputs of `part`, in inference mode.
    ///
    /// `part` has one input, raw RGB photos `[height, width, 3]`, RGBA ones `[height, width, 4]` or grey ones `[height, width, 1]`, and
    /// one output of any shape. `name` describes it to people who list the cache, such as `EfficientNet-Lite0, 224 x 224`.
    ///
    /// # Errors
    /// `part` has another input, or several outputs.
    pub fn new(part: &Model, name: &str, runtime: &Runtime, cache: &FeatureCache) -> Result<Self> {
        let place = format!("features of model `{}`", part.name());
        let ([input], [_]) = (part.inputs(), part.outputs()) else {
            let received = format!("{} and {}", part.inputs().len(), part.outputs().len());
            return Err(Error::new(place, "one input and one output", received));
        };
        let color_mode = ColorMode::of_input(input.shape()).map_err(|error| error.within(place))?;
        let [height, width] = [input.shape()[0], input.shape()[1]];
        let plain = Network::new(Program::of(part, false, 0)?, &[], name, runtime, cache);
        Ok(Self {
            runtime: runtime.clone(),
            batch_size: 32,
            image_size: [height, width],
            color_mode,
            shape: part.output_shape().clone(),
            plain,
            augmented: None,
            variants: 1,
        })
    }

    /// An extractor of the values at the boundary of a [`Partition`], for `variants` variants of each photo.
    ///
    /// Variant 0 is the photo itself. The others are random transformations by the random layers below the boundary. The
    /// transformation depends on the photo and the number of the variant alone.
    ///
    /// ```
    /// use engraft::Trainability;
    /// use engraft::cache::FeatureCache;
    /// use engraft::prelude::*;
    /// use engraft::recipe::{FeatureExtractor, Partition};
    /// let recipe = Recipe { image_size: 32, head: vec![], ..Recipe::new(2) };
    /// let model = recipe.weights("none").build(Box::new(|_, _| {}))?;
    /// let partition = Partition::with_variants(&model, &Trainability::of(&model))?.expect("a frozen base");
    /// let (runtime, cache) = (Runtime::shared()?, FeatureCache::off());
    /// let extractor = FeatureExtractor::of_partition(&partition, 4, "VGG16, 32 x 32", &runtime, &cache)?;
    /// // Four variants of 100 photos, 512 numbers each.
    /// assert_eq!(extractor.bytes(100), 100 * 4 * 512 * 4);
    /// # Ok::<(), engraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`new`](Self::new); no variants; several variants without a random layer below the boundary.
    pub fn of_partition(
        partition: &Partition,
        variants: usize,
        name: &str,
        runtime: &Runtime,
        cache: &FeatureCache,
    ) -> Result<Self> {
        let plain = Self::new(&partition.lower, name, runtime, cache)?;
        let augmented = match (variants, partition.augmentation()?) {
            (0, _) => return Err(Error::new("variants", "at least 1", 0)),
            (1, _) => None,
            (_, None) => {
                return Err(Error::new("variants", "1, as no random layer lies below the boundary", variants)
                    .hint("add augmentation to the model"));
            }
            (_, Some((augmentation, rest))) => {
                let augmentation = Augmentation::new(&augmentation)?;
                let rest = Program::of(&rest, false, 0)?;
                let name = format!("{name}, augmented");
                let network = Network::new(rest, &[augmentation.program()], &name, runtime, cache);
                Some((augmentation, network))
            }
        };
        Ok(Self { augmented, variants, ..plain })
    }

    /// Sets the number of photos that are computed at a time; 32 by default. It changes no bit.
    #[must_use]
    pub fn batch_size(self, batch_size: usize) -> Self {
        Self { batch_size: batch_size.max(1), ..self }
    }

    /// Whether the cache has the features of the photo with this digest. Such a photo has been decoded before, so a scan can skip it:
    /// see [`PhotoFolder::scan_knowing`](crate::data::PhotoFolder::scan_knowing).
    pub fn knows(&self, photo: &[u8; 32]) -> bool {
        (0..self.variants).all(|variant| self.network(variant).cached.contains(photo, variant as u32))
    }

    /// The key of the network in the cache. It follows from everything that determines the bits of the features, except the photo:
    /// operations, weights, image size, number format, instruction set, decoder and version of engraft.
    ///
    /// ```
    /// use engraft::cache::FeatureCache;
    /// use engraft::prelude::*;
    /// use engraft::recipe::FeatureExtractor;
    /// let conv = Conv2D::new(4, 3).into_layer();
    /// let network = Sequential::new().add(Input::new([8, 8, 3])).add(&conv).build()?;
    /// let (runtime, cache) = (Runtime::shared()?, FeatureCache::off());
    /// let key = || Ok::<_, engraft::Error>(FeatureExtractor::new(&network, "", &runtime, &cache)?.key());
    /// let before = key()?;
    /// assert_eq!(key()?, before);
    /// conv.weights()[0].values_mut()[0] += 1.0;
    /// assert_ne!(key()?, before);
    /// # Ok::<(), engraft::Error>(())
    /// ```
    pub fn key(&self) -> [u8; 32] {
        self.plain.key
    }

    /// The bytes of the features of this many photos, in memory.
    pub fn bytes(&self, photos: usize) -> usize {
        let values = photos.saturating_mul(self.variants).saturating_mul(self.length());
        values.saturating_mul(size_of::<f32>())
    }

    /// The number of values for a variant of a photo.
    fn length(&self) -> usize {
        self.shape.iter().product()
    }

    /// The network of a variant.
    fn network(&self, variant: usize) -> &Network {
        match &self.augmented {
            Some((_, network)) if variant > 0 => network,
            _ => &self.plain,
        }
    }

    /// Finds the features of the photos in the cache, or decodes the photos and computes them.
    ///
    /// `progress` receives the photos done and the total. Returns `None` if `interrupt` was requested; what was computed is in
    /// the cache then.
    ///
    /// Apart from the features, only a few batches of photos are in memory.
    ///
    /// # Errors
    /// Not enough memory, or an error of the executor. A photo that can't be decoded is no error, but is in
    /// [`PhotoFeatures::skipped`].
    pub fn extract(
        &self,
        photos: &[Photo],
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Option<PhotoFeatures>> {
        let mut values = self.allocate(photos.len())?;
        let threads = ThreadPoolBuilder::new().num_threads(self.runtime.threads().max(1)).build();
        let threads = threads.map_err(|error| Error::from_source("threads that decode photos", error))?;
        let mut report = |done: usize| progress(done, photos.len());
        report(0);
        let Some(missing) = self.look_up(photos, &mut values, &threads, interrupt, &mut report) else {
            return Ok(None);
        };
        let unreadable = self.compute(photos, &missing, &mut values, &threads, interrupt, &mut report);
        for variant in [0, 1] {
            self.network(variant).cached.flush();
        }
        let Some(unreadable) = unreadable? else { return Ok(None) };
        let decoded = missing.len() - unreadable.len();
        self.without(photos, unreadable, values, decoded).map(Some)
    }

    /// Zeros for the features of this many photos.
    fn allocate(&self, photos: usize) -> Result<Vec<f32>> {
        let needed = self.bytes(photos);
        match self.runtime.available_memory() {
            Some(available) if needed > available => Err(self.too_large(photos, needed, available)),
            _ => Ok(vec![0.0; photos * self.variants * self.length()]),
        }
    }

    fn too_large(&self, photos: usize, needed: usize, available: usize) -> Error {
        let received = format!("{needed} bytes for {photos} photos, {:?} numbers each", self.shape);
        Error::new("features", format_args!("at most {available} bytes"), received)
            .with_kind(ErrorKind::OutOfMemory)
            .hint("use fewer photos or variants, pool the features, or allow more memory")
    }

    /// Reads the cached features into `values`. Returns what is missing, or `None` if interrupted.
    fn look_up(
        &self,
        photos: &[Photo],
        values: &mut [f32],
        threads: &ThreadPool,
        interrupt: &Interrupt,
        report: &mut dyn FnMut(usize),
    ) -> Option<Vec<Missing>> {
        let mut missing = Vec::new();
        let length = self.length().max(1);
        let chunks = photos.chunks(LOOK_UP).zip(values.chunks_mut(LOOK_UP * self.variants * length));
        for (number, (chunk, rows)) in chunks.enumerate() {
            if interrupt.is_requested() {
                return None;
            }
            let first = number * LOOK_UP;
            let absent = |(photo, rows): (&Photo, &mut [f32])| {
                let is_absent = |(variant, row): (usize, &mut [f32])| {
                    let found = self.network(variant).cached.get(&photo.digest, variant as u32, row);
                    (!found).then_some(variant)
                };
                rows.chunks_mut(length).enumerate().filter_map(is_absent).collect::<Vec<_>>()
            };
            let absent: Vec<Vec<usize>> = threads
                .install(|| chunk.par_iter().zip(rows.par_chunks_mut(self.variants * length)).map(absent).collect());
            let absent = absent.into_iter().enumerate().filter(|(_, variants)| !variants.is_empty());
            missing.extend(absent.map(|(photo, variants)| Missing { photo: first + photo, variants }));
            report(first + chunk.len() - missing.len());
        }
        Some(missing)
    }

    /// Decodes the photos with missing features, and computes these into `values`. The next batch is decoded meanwhile.
    ///
    /// Returns the photos that can't be decoded, by their index, or `None` if interrupted.
    fn compute(
        &self,
        photos: &[Photo],
        missing: &[Missing],
        values: &mut [f32],
        threads: &ThreadPool,
        interrupt: &Interrupt,
        report: &mut dyn FnMut(usize),
    ) -> Result<Option<Vec<(usize, SkippedFile)>>> {
        let mut unreadable = Vec::new();
        if missing.is_empty() {
            return Ok(Some(unreadable));
        }
        let mut done = photos.len() - missing.len();
        let batch_size = self.photos_per_batch()?.min(missing.len());
        let mut sessions = Sessions::new(self, photos.len(), batch_size)?;
        std::thread::scope(|scope| {
            // The channel has no capacity, so that only one batch is in memory besides the one in use.
            let (sender, receiver) = sync_channel(0);
            scope.spawn(move || {
                for batch in missing.chunks(batch_size) {
                    // Sending fails if the receiver was dropped, because of an error or an interrupt.
                    if sender.send(threads.install(|| self.decode(photos, batch))).is_err() {
                        return;
                    }
                }
            });
            for batch in missing.chunks(batch_size) {
                if interrupt.is_requested() {
                    return Ok(None);
                }
                let decoded = receiver.recv().map_err(|error| {
                    Error::because("photos", "decoding ended unexpectedly")
                        .with_kind(ErrorKind::Internal)
                        .caused_by(error)
                })?;
                let mut readable = Vec::new();
                for (missing, pixels) in batch.iter().zip(decoded) {
                    match pixels {
                        Ok(pixels) => readable.push((missing, pixels)),
                        Err(file) => unreadable.push((missing.photo, file)),
                    }
                }
                self.compute_batch(photos, &readable, values, &mut sessions)?;
                done += batch.len();
                report(done);
            }
            Ok(Some(unreadable))
        })
    }

    /// The resized photos, `[height, width, channels]` each.
    fn decode(&self, photos: &[Photo], batch: &[Missing]) -> Vec<std::result::Result<Vec<f32>, SkippedFile>> {
        let resized = |missing: &Missing| photos[missing.photo].load(self.color_mode, self.image_size);
        batch.par_iter().map(resized).collect()
    }

    /// Computes the missing features of a batch of photos, variant by variant.
    fn compute_batch(
        &self,
        photos: &[Photo],
        batch: &[(&Missing, Vec<f32>)],
        values: &mut [f32],
        sessions: &mut Sessions,
    ) -> Result<()> {
        let [height, width] = self.image_size;
        for variant in 0..self.variants {
            let wanted = batch.iter().filter(|(missing, _)| missing.variants.contains(&variant));
            let mut inputs = Vec::new();
            let mut rows = Vec::new();
            for (missing, pixels) in wanted {
                match &self.augmented {
                    Some((augmentation, _)) if variant > 0 => {
                        let digest = &photos[missing.photo].digest;
                        let photo = Tensor::new([1, height, width, self.color_mode.channels()], pixels.clone())?;
                        inputs.extend(augmentation.apply(&photo, digest, variant, &self.runtime)?.into_data());
                    }
                    _ => inputs.extend(pixels),
                }
                rows.push(missing.photo);
            }
            if rows.is_empty() {
                continue;
            }
            let network = self.network(variant);
            let sample = &network.program.shapes[network.program.inputs[0]];
            let inputs = Tensor::new([&[rows.len()], sample.as_slice()].concat(), inputs)?;
            let outputs = predict_in_batches(sessions.of(variant), &[&inputs])?;
            for (index, photo) in rows.into_iter().enumerate() {
                let row = outputs.row(index);
                network.cached.put(&photos[photo].digest, variant as u32, row);
                let at = (photo * self.variants + variant) * self.length();
                values[at..at + self.length()].copy_from_slice(row);
            }
        }
        Ok(())
    }

    /// The features of the readable photos: moves the rows together, in place.
    fn without(
        &self,
        photos: &[Photo],
        mut unreadable: Vec<(usize, SkippedFile)>,
        mut values: Vec<f32>,
        decoded: usize,
    ) -> Result<PhotoFeatures> {
        unreadable.sort_by_key(|(photo, _)| *photo);
        let is_readable = |photo: &usize| unreadable.binary_search_by_key(photo, |(bad, _)| *bad).is_err();
        let kept: Vec<usize> = (0..photos.len()).filter(is_readable).collect();
        let size = self.variants * self.length();
        if kept.len() < photos.len() {
            for (to, &from) in kept.iter().enumerate() {
                values.copy_within(from * size..(from + 1) * size, to * size);
            }
            values.truncate(kept.len() * size);
        }
        let shape = [&[kept.len() * self.variants], self.shape.as_slice()].concat();
        Ok(PhotoFeatures {
            photos: kept.into_iter().map(|photo| photos[photo].clone()).collect(),
            values: Tensor::new(shape, values)?,
            variants: self.variants,
            skipped: unreadable.into_iter().map(|(_, file)| file).collect(),
            decoded,
        })
    }
}

/// A photo, by its index, and its variants whose features aren't cached.
#[derive(Debug)]
struct Missing {
    photo: usize,
    variants: Vec<usize>,
}

impl Network {
    /// `before` are programs that compute the inputs of `program`.
    fn new(program: Program, before: &[&Program], name: &str, runtime: &Runtime, cache: &FeatureCache) -> Self {
        let key = network_key(before.iter().copied().chain([&program]), runtime);
        let length = program.size(program.outputs[0]);
        let cached = cache.open(key, name, length);
        Self { program, key, cached }
    }
}

/// The sessions of the networks.
struct Sessions {
    plain: Box<dyn Session>,
    augmented: Option<Box<dyn Session>>,
}

impl Sessions {
    /// Sessions for batches of up to `batch_size`, as large as memory allows beside the features of `photos` photos.
    fn new(extractor: &FeatureExtractor, photos: usize, batch_size: usize) -> Result<Self> {
        let session = |network: &Network| extractor.session(network, photos, batch_size);
        let augmented = extractor.augmented.as_ref().map(|(_, network)| session(network)).transpose()?;
        Ok(Self { plain: session(&extractor.plain)?, augmented })
    }

    fn of(&mut self, variant: usize) -> &mut dyn Session {
        match &mut self.augmented {
            Some(session) if variant > 0 => &mut **session,
            _ => &mut *self.plain,
        }
    }
}

impl FeatureExtractor {
    /// The batch size, or fewer photos if the network is costly.
    fn photos_per_batch(&self) -> Result<usize> {
        let options = self.runtime.executor().plan_options();
        let photo = macs(&Plan::new(self.plain.program.clone(), Purpose::Predict, 1, &options)?);
        Ok(self.batch_size.min((MACS_PER_BATCH / photo.max(1.0)) as usize).max(1))
    }

    /// A session for batches of up to `batch_size`, smaller ones where memory is short.
    fn session(&self, network: &Network, photos: usize, batch_size: usize) -> Result<Box<dyn Session>> {
        let [height, width] = self.image_size;
        // The photos of a batch that is decoded, one that waits, and one that is computed.
        let batches = 3 * batch_size * height * width * self.color_mode.channels() * size_of::<f32>();
        let reserved = self.bytes(photos).saturating_add(batches);
        let plan = |batch, options: &PlanOptions| Plan::new(network.program.clone(), Purpose::Predict, batch, options);
        let mut batch = batch_size;
        loop {
            let (fitting, memory) = self.runtime.fitting_plan(batch, plan)?;
            let needed = memory.total().saturating_add(reserved);
            match self.runtime.available_memory().filter(|&available| needed > available) {
                None => return self.runtime.executor().prepare(fitting),
                Some(available) if batch == 1 => return Err(self.too_large(photos, needed, available)),
                Some(_) => batch /= 2,
            }
        }
    }
}
