//! `engraft features`: what a layer makes of photos.

use std::path::{Path, PathBuf};

use engraft::data::decode;
use engraft::formats::atomic;
use engraft::recipe::Classifier;
use engraft::train::{Train, available_memory};
use engraft::{Error, Tensor};
use npyz::WriterBuilder;

use crate::destination::Destination;
use crate::failure::Failure;
use crate::output::line;
use crate::predict::warn;

/// Write what a layer makes of photos to a NumPy file, [images, ...] of float32
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A `.keras` file or a whole-model `.h5`
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Photos: JPEG, PNG, GIF, BMP or WebP
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// The layer; `engraft summary MODEL --expand-nested` names them all
    #[arg(long, value_name = "NAME")]
    layer: String,
    /// The file to write
    #[arg(short, long, value_name = "FILE.npy")]
    output: PathBuf,
}

/// A row for each image: one that can't be read ends it, since rows must stay in step with images.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let output = Destination::check("--output", &args.output)?;
    let classifier = Classifier::load(&args.model)?;
    warn(&classifier);
    let mut shape = vec![args.images.len()];
    let mut values = Vec::new();
    for image in &args.images {
        let row = classifier.model().features(&classifier.input(&decode(image)?)?, &args.layer)?;
        if values.is_empty() {
            check_memory(&row, args.images.len())?;
            shape.extend(&row.shape()[1..]);
        }
        values.extend(row.into_data());
    }
    write(output.path(), &shape, &values)?;
    line(format_args!("{}: {shape:?} of float32", output.path().display()))
}

/// All rows must fit into memory.
fn check_memory(row: &Tensor, rows: usize) -> Result<(), Error> {
    let needed = size_of_val(row.data()).saturating_mul(rows);
    match available_memory() {
        Some(available) if needed > available => Err(Error::new(
            "features",
            format_args!("at most {available} bytes"),
            format_args!("{needed} bytes from {rows} images"),
        )
        .hint("give fewer images at a time")),
        _ => Ok(()),
    }
}

fn write(path: &Path, shape: &[usize], values: &[f32]) -> Result<(), Error> {
    let shape: Vec<u64> = shape.iter().map(|&size| size as u64).collect();
    let written = atomic::write(path, |file| {
        let options = npyz::WriteOptions::<f32>::new().default_dtype().shape(&shape);
        let mut writer = options.writer(file).begin_nd()?;
        writer.extend(values.iter().copied())?;
        writer.finish()
    });
    written.map_err(|error| Error::because("features", error))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_is_written_is_numpy_s() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.npy");
        write(&path, &[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.starts_with(b"\x93NUMPY"));
        let npy = npyz::NpyFile::new(io::Cursor::new(bytes)).unwrap();
        assert_eq!((npy.shape(), npy.order()), (&[2, 3][..], npyz::Order::C));
        assert_eq!(npy.into_vec::<f32>().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }
}
