//! `engraft features`: writes the outputs of a layer for photos to a NumPy file.

use std::path::{Path, PathBuf};

use engraft::formats::{atomic, npy};
use engraft::runtime::Runtime;
use engraft::train::{RunOptions, Train};
use engraft::{Error, ErrorKind, Tensor};

use crate::destination::{self, Content, Outputs};
use crate::failure::Failure;
use crate::misplaced::check_model;
use crate::open::OpenArgs;
use crate::options::ForceArg;
use crate::output::line;

const EXAMPLES: &str = "\
Example:
  engraft features model.keras photo.jpg --layer block5_pool -o pool.npy";

/// Write the outputs of a layer for photos to a NumPy file: float32 of shape [images, ...]
///
/// The outputs of an inner layer (features) describe a photo in numbers, for example to search for similar photos or to train
/// another classifier in Python. Row i belongs to the i-th IMAGE.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Model file to read: `.keras`, or an `.h5` that holds layers and weights, written by engraft or Keras
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    open: OpenArgs,
    /// Photo files to read: JPEG, PNG, GIF, BMP, TIFF or WebP
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// Name of the layer whose outputs are written; `engraft summary MODEL --expand-nested` lists all layers
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    layer: String,
    /// NumPy file to write
    #[arg(short, long, value_name = "FILE.npy", help_heading = "Output")]
    output: PathBuf,
    #[command(flatten)]
    force: ForceArg,
}

/// Writes one row per image. An image that can't be read is an error, since rows must match images.
pub(crate) fn run(args: &Args, runtime: &Runtime) -> Result<(), Failure> {
    check_model(&args.model, args.images.iter().map(PathBuf::as_path))?;
    let mut outputs = Outputs::new(args.force.force).reads("MODEL", [&args.model]).reads("IMAGE", &args.images);
    let output = outputs.check("--output", &args.output, Content::Npy)?;
    let classifier = args.open.classifier(&args.model)?;
    let mut shape = vec![args.images.len()];
    let mut values = Vec::new();
    for image in &args.images {
        let options = RunOptions::from(1).runtime(runtime);
        let row = classifier.model().features(&classifier.load_input(image)?, &args.layer, options)?;
        if values.is_empty() {
            check_memory(&row, args.images.len(), runtime.available_memory())?;
            output.require_space(size_of_val(row.data()) as u64 * args.images.len() as u64)?;
            shape.extend(&row.shape()[1..]);
        }
        values.extend(row.into_data());
    }
    write(output.path(), &shape, &values).map_err(destination::advise)?;
    line(format_args!("{}: {shape:?} of float32", output.path().display()))
}

/// Checks that all rows fit in memory.
fn check_memory(row: &Tensor, rows: usize, available: Option<usize>) -> Result<(), Error> {
    let needed = size_of_val(row.data()).saturating_mul(rows);
    match available {
        Some(available) if needed > available => Err(Error::new(
            "features",
            format_args!("at most {available} bytes"),
            format_args!("{needed} bytes from {rows} images"),
        )
        .with_kind(ErrorKind::OutOfMemory)
        .hint("give fewer images at a time")),
        _ => Ok(()),
    }
}

fn write(path: &Path, shape: &[usize], values: &[f32]) -> Result<(), Error> {
    let written = atomic::write(path, |file| {
        let mut writer = npy::Writer::new(file, shape)?;
        writer.write(values)?;
        writer.finish()
    });
    written.map_err(|error| Error::because("features", &error).with_kind(error.kind()).caused_by(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.npy");
        let values = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        write(&path, &[2, 3], &values).unwrap();
        assert_eq!(npy::load(&path).unwrap(), Tensor::new([2, 3], values.to_vec()).unwrap());
    }
}
