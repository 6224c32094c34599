//! Writers of `.keras` archives and `.weights.h5` files. The older `.h5` is written in `legacy`.

use std::io::{self, Seek, Write};
use std::path::Path;

use engraft_nn::{Error, Model, Optimizer, Result, Weight};
use serde_json::json;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::version::KERAS_VERSION;
use super::{CONFIG, METADATA, WEIGHTS, base_record, config_writer, open_input, optimizer_state, weights};
use crate::error::at;
use crate::failing_once::FailingOnce;
use crate::h5::H5Writer;
use crate::{FloatType, atomic};

/// Options of [`save`] and of [`legacy::save`](super::legacy::save).
///
/// ```
/// use engraft_formats::FloatType;
/// use engraft_formats::keras::{self, SaveOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let (full, half) = (folder.path().join("full.keras"), folder.path().join("half.keras"));
/// let model = Sequential::new().add(Input::new([64])).add(Dense::new(64)).build()?;
/// keras::save(&model, &full, &SaveOptions::default())?;
/// keras::save(&model, &half, &SaveOptions { float_type: FloatType::F16, ..SaveOptions::default() })?;
/// assert!(std::fs::metadata(&half)?.len() < std::fs::metadata(&full)?.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SaveOptions<'a> {
    /// Whether to save the optimizer state (its iterations and moments), so that training can
    /// continue. With Adam and all weights trainable, it triples the size of the file.
    pub optimizer_state: bool,
    /// The float type of weights. The optimizer state is always f32.
    pub float_type: FloatType,
    /// Extra entries: name and content. Keras ignores them. [`save`] adds them to the archive;
    /// [`legacy::save`](super::legacy::save) writes them as attributes, so there they must be UTF-8 text.
    pub extras: &'a [(String, Vec<u8>)],
}

/// Writes a model to a `.keras` file like Keras' `model.save`: with its optimizer state, in f32.
///
/// ```
/// use engraft_formats::keras::{load_model, save_model};
/// use engraft_nn::prelude::*;
/// let model = Sequential::new().add(Input::new([2])).add(Dense::new(3)).build()?;
/// let folder = tempfile::tempdir()?;
/// save_model(&model, &folder.path().join("m.keras"))?;
/// assert_eq!(load_model(&folder.path().join("m.keras"))?.count_params(), 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`save`].
pub fn save_model(model: &Model, path: &Path) -> Result<()> {
    save(model, path, &SaveOptions { optimizer_state: true, ..SaveOptions::default() })
}

/// Writes a model to a `.keras` file for Keras 3: layers, weights, and the settings of `compile`.
///
/// The file is replaced atomically: a failure leaves the old one unchanged. Weights are written
/// without a second copy in memory.
///
/// ```
/// use engraft_formats::keras::{self, SaveOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.keras");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// keras::save(&model, &path, &SaveOptions::default())?;
/// assert_eq!(*keras::load_model(&path)?.weights()[0].values(), *model.weights()[0].values());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be written; a weight doesn't fit the float type; an extra entry has the name of one of
/// Keras' entries.
pub fn save(model: &Model, path: &Path, options: &SaveOptions<'_>) -> Result<()> {
    if let Some((name, _)) = options.extras.iter().find(|(name, _)| is_keras_entry(name)) {
        return Err(Error::because(
            path.display(),
            format_args!("an extra entry can't be called `{name}`, since Keras uses this name"),
        ));
    }
    let config = config_writer::model(model).to_string();
    // Keras also writes the date here, which nothing reads. Without it, the same model gives the same bytes.
    let mut metadata = json!({
        "keras_version": KERAS_VERSION,
        "engraft_version": env!("CARGO_PKG_VERSION"),
    });
    if let paths @ [_, ..] = &base_record::paths(model)[..] {
        metadata[base_record::KEY] = json!(paths);
    }
    if let Some(size) = open_input::record(model) {
        metadata[open_input::KEY] = json!(size);
    }
    let small = [(METADATA, metadata.to_string()), (CONFIG, config)];
    with_weights(model, Some(options.optimizer_state), options.float_type, |writer, bytes| {
        atomic::write(path, |file| {
            let mut zip = ZipWriter::new(FailingOnce::new(file));
            for (name, text) in &small {
                entry(&mut zip, name, text.as_bytes())?;
            }
            // An entry beyond 4 GiB needs ZIP64 fields, which its header must announce. The header is written before the
            // length is known, so it announces them if the upper bound of the length is 2 GiB or more.
            zip.start_file(
                WEIGHTS,
                SimpleFileOptions::default().compression_method(STORED).large_file(bytes >= 1 << 31),
            )?;
            writer.write_to(&mut zip).map_err(io::Error::other)?;
            for (name, bytes) in options.extras {
                entry(&mut zip, name, bytes)?;
            }
            zip.finish()?;
            Ok(())
        })
        .map_err(|error| at("model", error))
    })
}

/// Writes a model's weights to a `.weights.h5` file, as Keras' `save_weights` does.
///
/// ```
/// use engraft_formats::h5::H5File;
/// use engraft_formats::{FloatType, keras};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.weights.h5");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// keras::save_weights(&model, &path, FloatType::F32)?;
/// assert_eq!(H5File::open(&path)?.dataset_shape("layers/dense/vars/0")?, [4, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be written; a weight doesn't fit the float type.
pub fn save_weights(model: &Model, path: &Path, float_type: FloatType) -> Result<()> {
    with_weights(model, None, float_type, |writer, _| {
        atomic::write(path, |file| writer.write_to(file).map_err(io::Error::other))
            .map_err(|error| at("weights", error))
    })
}

/// Entries are uncompressed, as in Keras.
const STORED: zip::CompressionMethod = zip::CompressionMethod::Stored;

fn is_keras_entry(name: &str) -> bool {
    [CONFIG, METADATA, WEIGHTS, "model.weights.npz"].contains(&name) || name.starts_with("assets/")
}

fn entry(zip: &mut ZipWriter<impl Write + Seek>, name: &str, bytes: &[u8]) -> io::Result<()> {
    zip.start_file(name, SimpleFileOptions::default().compression_method(STORED).large_file(bytes.len() >= 1 << 31))?;
    zip.write_all(bytes)
}

/// Calls `then` with an HDF5 writer of the model's weights and an upper bound on the bytes that it will write.
///
/// `slots`: `None` leaves the optimizer out, `Some(false)` writes a fresh one, `Some(true)` its state.
fn with_weights(
    model: &Model,
    slots: Option<bool>,
    float_type: FloatType,
    then: impl FnOnce(&H5Writer<'_>, usize) -> Result<()>,
) -> Result<()> {
    float_type.check(&model.weights())?;
    let failed = |error| at("weights", error);
    let saved = weights::saved_layers(model.layer());
    let values = weights::values(&saved);
    let trainable = model.trainable_weights();
    let compiled = model.compiled();
    let state = compiled.as_ref().map(|compiled| compiled.state.slots());
    let mut writer = H5Writer::new();
    weights::write(&saved, &values, float_type, &mut writer).map_err(failed)?;
    if slots.is_none() {
        // A `.weights.h5` has no other place for the program that wrote it; a `.keras` has its metadata.json.
        writer.attr_strings("", "engraft_version", &[env!("CARGO_PKG_VERSION")]).map_err(failed)?;
    }
    let mut numbers = model.count_params();
    if let (Some(slots), Some(compiled)) = (slots, compiled.as_ref()) {
        optimizer_state::write(compiled, &trainable, state.as_deref().filter(|_| slots), &mut writer)
            .map_err(failed)?;
        let slots = if slots { compiled.optimizer.as_ref().map_or(0, Optimizer::slots) } else { 0 };
        numbers += slots * trainable.iter().map(Weight::count).sum::<usize>();
    }
    then(&writer, numbers * size_of::<f32>() + (1 << 20) + saved.len() * (1 << 12))
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;

    use super::*;

    #[test]
    fn a_model_has_the_same_bytes_whenever_it_is_saved() {
        let folder = tempfile::tempdir().unwrap();
        let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build().unwrap();
        let saved = |name: &str| {
            let path = folder.path().join(name);
            save(&model, &path, &SaveOptions::default()).unwrap();
            std::fs::read(path).unwrap()
        };
        let first = saved("first.keras");
        // A date in the file would change within this time.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert!(saved("second.keras") == first);
    }
}
