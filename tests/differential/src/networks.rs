//! [`compare`]: the networks of `keras.applications`, from Keras' files and from the builders of their names.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use engraft::ActivationFn;
use engraft::applications::{Architecture, Network};
use engraft::formats::{FloatType, onnx};
use engraft_formats::keras;
use engraft_nn::prelude::*;
use engraft_nn::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::check::{Comparison, Difference, check};
use crate::oracle::{Made, Oracle, Reply};

/// The comparison of a network in one format: a line of the record.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Row {
    network: String,
    /// `keras` or `h5`.
    format: String,
    /// Parameters with a top of 7 classes.
    parameters: usize,
    /// The shape of the images.
    input: Vec<usize>,
    /// The largest difference of the logits from Keras', here and in onnxruntime, and the tolerance, as parts of the largest logit.
    distance: f32,
    onnx: f32,
    tolerance: f32,
    /// Why there is no model to compare with.
    unusable: Option<String>,
    /// Why Keras itself doesn't open its file.
    unopened: Option<String>,
    differences: Vec<String>,
}

impl Row {
    /// Whether the name of its network contains `part`.
    pub(crate) fn is_of(&self, part: &str) -> bool {
        self.network.contains(part)
    }

    pub(crate) fn agrees(&self) -> bool {
        self.unusable.is_none() && self.differences.is_empty()
    }

    fn outcome(&self) -> String {
        match &self.unusable {
            Some(reason) => format!("unusable: {reason}"),
            None if self.differences.is_empty() => {
                let note = self.unopened.as_ref().map_or("", |_| "; Keras doesn't open its own file");
                format!("agrees within {:.1e}{note}", self.distance)
            }
            None => format!("differs: {}", self.differences.join("; ")),
        }
    }
}

/// Compares the networks whose names contain `part`, and prints and records each; those that the record has are printed only.
/// Returns all rows, also those of the record.
///
/// # Errors
/// No network has such a name; the oracle fails; the record can't be read or written.
pub(crate) fn compare(oracle: &mut Oracle, part: &str, record: Option<&Path>) -> Result<Vec<Row>> {
    let mut rows = read(record)?;
    let networks: Vec<String> = oracle.networks()?.into_iter().filter(|name| name.contains(part)).collect();
    if networks.is_empty() {
        return Err(Error::new("--applications", "a part of the name of a network, such as MobileNet", part)
            .hint("names are those of the functions in keras.applications, with their capital letters"));
    }
    for name in &networks {
        for format in ["keras", "h5"] {
            if let Some(row) = rows.iter().find(|row| row.network == *name && row.format == format) {
                println!("{name}.{format}: {} (from the record)", row.outcome());
                continue;
            }
            let row = row(oracle, name, format)?;
            println!("{name}.{format}: {}", row.outcome());
            if let Some(path) = record {
                append(path, &row)?;
            }
            rows.push(row);
        }
    }
    Ok(rows)
}

fn row(oracle: &mut Oracle, name: &str, format: &str) -> Result<Row> {
    let folder = tempfile::tempdir().map_err(|error| Error::from_source("temporary folder", error))?;
    let folder = folder.path();
    let file = folder.join(format!("model.{format}"));
    let mut row = Row { network: name.to_owned(), format: format.to_owned(), ..Row::default() };
    match oracle.network(name, &file, folder)? {
        Reply::Failed(reason) => row.unusable = Some(reason),
        Reply::Answer(made) => match differences(&made, folder, oracle, &mut row) {
            Ok(differences) => row.differences = differences.iter().map(Difference::to_string).collect(),
            Err(error) => row.differences = vec![error.to_string()],
        },
    }
    Ok(row)
}

/// Compares Keras' file, and the network that the builder makes with its weights.
fn differences(made: &Made, folder: &Path, oracle: &mut Oracle, row: &mut Row) -> Result<Vec<Difference>> {
    let mut differences = check(made, folder, oracle)?;
    let mut comparison = Comparison::new(made, folder)?;
    let shape = comparison.inputs()[0].shape()[1..].to_vec();
    let &[height, width, channels] = &shape[..] else {
        return Err(Error::because("arrays.npz", "x0 isn't a batch of images"));
    };
    let network = Network::new(Architecture::find(&row.network)?).input_shape([height, width, channels]);
    let bare = {
        engraft::clear_session();
        Network::new(network.architecture()).weights("none").input_shape([height, width, channels]).include_top(false)
    };
    match &made.without_top {
        Some(expected) => comparison.summary(&bare.pooling(engraft::applications::Pooling::Avg).build()?, expected),
        None => comparison.differs("the oracle has no summary without the top"),
    }
    let mut network = network.classes(7).classifier_activation(ActivationFn::Linear);
    let weights = folder.join("model.weights.h5");
    let mut model = None;
    for file in [made.file.as_path(), &weights] {
        engraft::clear_session();
        let built = network.weights(file).build()?;
        comparison.description(&built);
        comparison.predictions(&built)?;
        network = Network::new(Architecture::find(&row.network)?).input_shape([height, width, channels]);
        network = network.classes(7).classifier_activation(ActivationFn::Linear);
        model = Some(built);
    }
    let (tolerance, mut onnx) = (made.tolerances.get("y").copied().unwrap_or_default(), 0.0);
    if let Some(model) = model {
        comparison.file(&model, folder, oracle)?;
        written(&model, folder, oracle, &mut comparison)?;
        onnx = in_onnxruntime(&model, folder, oracle, &mut comparison, tolerance)?;
        row.parameters = model.count_params();
    }
    let largest = comparison.largest("y");
    (row.input, row.unopened) = (shape, made.unopened.clone());
    (row.distance, row.onnx, row.tolerance) = (comparison.distance / largest, onnx / largest, tolerance / largest);
    differences.extend(comparison.into_differences());
    Ok(differences)
}

/// Writes `.weights.h5`; Keras loads it.
fn written(model: &Model, folder: &Path, oracle: &mut Oracle, comparison: &mut Comparison<'_>) -> Result<()> {
    let file = folder.join("written.weights.h5");
    keras::save_weights(model, &file, FloatType::F32)?;
    match oracle.load_weights(&file)? {
        Reply::Answer(true) => {}
        Reply::Answer(false) => comparison.differs("Keras reads other weights from the .weights.h5 that was written"),
        Reply::Failed(reason) => comparison.differs(format_args!("Keras doesn't load .weights.h5: {reason}")),
    }
    Ok(())
}

/// Exports the model to ONNX; returns how far onnxruntime is from Keras.
fn in_onnxruntime(
    model: &Model,
    folder: &Path,
    oracle: &mut Oracle,
    comparison: &mut Comparison<'_>,
    tolerance: f32,
) -> Result<f32> {
    let file = folder.join("model.onnx");
    onnx::save(model, &file, &onnx::OnnxOptions::default())?;
    match oracle.onnx(&file)? {
        Reply::Answer(distance) => {
            if distance.is_nan() || distance > tolerance {
                comparison.differs(format_args!("onnxruntime differs by {distance:.1e}, at most {tolerance:.1e}"));
            }
            Ok(distance)
        }
        Reply::Failed(reason) => {
            comparison.differs(format_args!("onnxruntime: {reason}"));
            Ok(f32::NAN)
        }
    }
}

/// A table in Markdown of the rows of a record, one line for each network.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "# The networks of keras.applications, compared with Keras\n\n\
         Made by `cargo xtask differential --applications --record tests/differential/applications.jsonl --table docs/parity.md`.\n\
         Rows that the record has are kept: delete its lines to compare their networks again.\n\n\
         Keras makes each network with a top of 7 classes and weights of its own, for small images. *Agrees* means: Keras' `.keras`,\n\
         `.h5` and `.weights.h5` open, `summary()` is Keras' text with and without the top, the logits are Keras' within the tolerance\n\
         (four times Keras' own distance from float64, plus 1e-5 of the largest), Keras loads what is written in each format without\n\
         new warnings, and the exported ONNX file agrees in onnxruntime. Distances are parts of the largest logit.\n\n\
         | network | parameters | images | `.keras` | `.h5` | distance | in onnxruntime | tolerance |\n\
         |---|---:|---|---|---|---:|---:|---:|\n",
    );
    for row in rows.iter().filter(|row| row.format == "keras") {
        let h5 = rows.iter().find(|other| other.network == row.network && other.format == "h5");
        let size = row.input.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
        let short = |row: &Row| match (&row.unusable, row.differences.first()) {
            (Some(reason), _) => format!("Keras: {}", reason.lines().next().unwrap_or_default()),
            (None, Some(difference)) => difference.lines().next().unwrap_or_default().replace('|', "\\|"),
            (None, None) if row.unopened.is_some() => "agrees \u{b9}".to_owned(),
            (None, None) => "agrees".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {size} | {} | {} | {:.1e} | {:.1e} | {:.1e} |",
            row.network,
            row.parameters,
            short(row),
            h5.map_or_else(String::new, short),
            row.distance,
            row.onnx,
            row.tolerance,
        );
    }
    if rows.iter().any(|row| row.unopened.is_some()) {
        text.push_str(
            "\n\u{b9} Keras itself can't open the file that it wrote. What is written here is opened here.\n",
        );
    }
    text
}

fn read(record: Option<&Path>) -> Result<Vec<Row>> {
    let Some(path) = record.filter(|path| path.exists()) else { return Ok(Vec::new()) };
    let text = std::fs::read_to_string(path).map_err(|error| Error::from_source(path.display(), error))?;
    let rows = text.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>();
    rows.map_err(|error| Error::from_source(path.display(), error))
}

fn append(path: &Path, row: &Row) -> Result<()> {
    let line = serde_json::to_string(row).map_err(|error| Error::from_source("record", error))?;
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| writeln!(file, "{line}")).map_err(|error| Error::from_source(path.display(), error))
}
