//! Arguments that hold what another argument should: a photo for the model, a model for the photos, the output for the input.

use std::path::Path;

use engraft::formats::foreign::Foreign;
use engraft::formats::keras;
use engraft::{Error, ErrorKind};

use crate::command_line::with_exchanged;
use crate::failure::Failure;
use crate::file_kind::FileKind;

/// Checks that no folder or photo stands where a model file should. `others` are the other paths of the command. An unzipped
/// `.keras` file is a folder and a model.
///
/// # Errors
/// [`Failure::Usage`] with the right command line if one of `others` is a model; otherwise [`Failure::Failed`]. A file of another
/// kind passes: its reader knows best what is wrong with it.
pub(crate) fn check_model<'a>(path: &Path, others: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
    let kind = FileKind::of(path);
    let is_file = !matches!(kind, FileKind::Folder | FileKind::Photo | FileKind::Special | FileKind::Empty);
    if is_file || keras::is_unzipped(path) {
        return Ok(());
    }
    let error = Error::new(path.display(), "a model file", kind);
    let is_model = |other: &&Path| FileKind::of(other) == FileKind::Model || keras::is_unzipped(other);
    match others.into_iter().find(is_model) {
        Some(model) => {
            let line = with_exchanged(path, model);
            Err(Failure::Usage(error.hint(format_args!("the model comes first: {line}"))))
        }
        None => Err(match Foreign::of(path) {
            Some(foreign) => foreign.error(path, "a model file"),
            None => error.hint("give a model file, such as the model.keras that `engraft train` wrote"),
        }
        .into()),
    }
}

/// Checks that no model and no single photo stands where a folder of photos should.
///
/// # Errors
/// `path` is a file. That a path doesn't exist is left to the scan of the folder.
pub(crate) fn check_photos(path: &Path) -> Result<(), Failure> {
    let kind = FileKind::of(path);
    let hint = match kind {
        FileKind::Folder | FileKind::Missing => return Ok(()),
        FileKind::Photo => {
            "give a folder with one folder of photos per class; `engraft predict` classifies single photos"
        }
        FileKind::Model => {
            "give a folder with one folder of photos per class; `engraft train` takes a model with --model"
        }
        _ => "give a folder with one folder of photos per class",
    };
    let error = Error::new(path.display(), "a folder of photos", kind);
    Err(error.with_kind(ErrorKind::InvalidArgument).hint(hint).into())
}

/// Checks that the folder of photos and the model to write haven't changed places.
///
/// # Errors
/// [`Failure::Usage`] with the right command line if `output` is a folder and `photos` is none.
pub(crate) fn check_order(photos: &Path, output: &Path) -> Result<(), Failure> {
    if FileKind::of(output) != FileKind::Folder || FileKind::of(photos) == FileKind::Folder {
        return Ok(());
    }
    let received = format_args!("{}, a folder", output.display()).to_string();
    let error = Error::new("--output", "the name of a file to write", received);
    Err(Failure::Usage(error.hint(format_args!("the photos come first: {}", with_exchanged(photos, output)))))
}
