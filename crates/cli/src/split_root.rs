//! The folder above `train/` and `val/`, given where one with class folders should be.

use std::path::{Path, PathBuf};

use engraft::Error;
use engraft::data::is_system_folder;

use crate::command_line::with_replaced;
use crate::failure::Failure;

/// Usual names of the folder of a training set.
const TRAINING: [&str; 2] = ["train", "training"];

/// Usual names of folders of photos that are held out, the first that exists first.
const HELD_OUT: [&str; 10] =
    ["val", "valid", "validation", "dev", "eval", "evaluation", "holdout", "heldout", "test", "testing"];

/// The folders of a data set that is split already.
struct SplitRoot {
    training: PathBuf,
    held_out: PathBuf,
}

/// Checks that the classes in `dir` aren't the parts of a split data set: trained on, they would become the classes.
///
/// # Errors
/// [`Failure::Usage`] with the command line that trains on one part and validates on the other.
pub(crate) fn check_training(dir: &Path, validation_given: bool) -> Result<(), Failure> {
    let Some(SplitRoot { training, held_out }) = SplitRoot::of(dir) else { return Ok(()) };
    let mut folders = vec![training];
    if !validation_given {
        folders.extend([PathBuf::from("--validation"), held_out]);
    }
    Err(refusal(dir, &with_replaced(dir, &folders)))
}

/// Like [`check_training`] for the evaluation of a model, on the part that is held out.
///
/// # Errors
/// [`Failure::Usage`] with the command line that evaluates on this part.
pub(crate) fn check_evaluation(dir: &Path) -> Result<(), Failure> {
    match SplitRoot::of(dir) {
        Some(SplitRoot { held_out, .. }) => Err(refusal(dir, &with_replaced(dir, &[held_out]))),
        None => Ok(()),
    }
}

fn refusal(dir: &Path, line: &str) -> Failure {
    let received = "the folders of a training set and of held-out photos";
    Failure::Usage(
        Error::new(dir.display(), "one folder per class", received).hint(format_args!("use these folders: {line}")),
    )
}

/// The name of a folder as it stands in the lists: in lower case, `training_set` as `training`.
fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let plain: String = name.chars().filter(|letter| !matches!(letter, '_' | '-' | ' ')).collect();
    plain.strip_suffix("set").map_or(plain.clone(), str::to_owned)
}

impl SplitRoot {
    /// The parts of a data set in `dir`; `None` if a folder has another name than such a part.
    fn of(dir: &Path) -> Option<Self> {
        let entries = std::fs::read_dir(dir).ok()?.flatten();
        let folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        let visible: Vec<&PathBuf> =
            folders.iter().filter(|path| !is_system_folder(path.file_name().unwrap_or_default())).collect();
        let find = |names: &[&str]| {
            names
                .iter()
                .find_map(|&known| visible.iter().find(|path| name(path) == known).map(|path| path.to_path_buf()))
        };
        let is_part = |path: &&PathBuf| {
            let name = name(path);
            TRAINING.contains(&name.as_str()) || HELD_OUT.contains(&name.as_str())
        };
        let (training, held_out) = (find(&TRAINING)?, find(&HELD_OUT)?);
        visible.iter().all(is_part).then_some(Self { training, held_out })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_known_by_their_names() {
        let parts = |names: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            names.iter().for_each(|name| std::fs::create_dir(folder.path().join(name)).unwrap());
            let file = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
            SplitRoot::of(folder.path()).map(|root| [file(root.training), file(root.held_out)])
        };
        let expected = |training: &str, held_out: &str| Some([training.to_owned(), held_out.to_owned()]);
        assert_eq!(parts(&["train", "val"]), expected("train", "val"));
        assert_eq!(parts(&["Training", "test", "valid", ".cache"]), expected("Training", "valid"));
        assert_eq!(parts(&["train", "test", "@eaDir"]), expected("train", "test"));
        assert_eq!(parts(&["training_set", "Test-Set"]), expected("training_set", "Test-Set"));
        assert_eq!(parts(&["training", "evaluation", "validation"]), expected("training", "validation"));
        // A train may be a class beside a car.
        assert_eq!(parts(&["train", "car"]), None);
        assert_eq!(parts(&["train", "test", "car"]), None);
        assert_eq!(parts(&["val", "test"]), None);
    }
}
