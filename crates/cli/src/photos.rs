//! Folders of photos, read with a progress bar, and photos that are no use reported.

use std::io::{self, IsTerminal};
use std::path::Path;

use engraft::Error;
use engraft::data::{PhotoFolder, Skipped};
use engraft::recipe::Classifier;
use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::Failure;
use crate::output::{self, note};

/// Bad photos that are told one by one.
const SHOWN: usize = 20;

/// A bar on the terminal, or nothing where there is none.
pub(crate) fn bar(template: &str, length: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style.progress_chars("━╸ "))
}

/// Reads a folder that says what the classes are.
pub(crate) fn scan(dir: &Path) -> Result<PhotoFolder, Failure> {
    with_bar(|progress| PhotoFolder::scan(dir, progress))
}

/// Reads a folder whose classes are given.
pub(crate) fn scan_as(dir: &Path, classes: &[String]) -> Result<PhotoFolder, Failure> {
    with_bar(|progress| PhotoFolder::scan_as(dir, classes, progress))
}

/// Reads a folder for a model: its classes by name, or where it holds no names by their order.
pub(crate) fn scan_for(dir: &Path, classifier: &Classifier) -> Result<PhotoFolder, Failure> {
    if classifier.facts().is_some() {
        return scan_as(dir, classifier.classes());
    }
    let folder = scan(dir)?;
    check_count(dir, classifier, &folder.classes)?;
    Ok(folder)
}

/// Class folders and the model's outputs must be equally many.
pub(crate) fn check_count(dir: &Path, classifier: &Classifier, folders: &[String]) -> Result<(), Failure> {
    let (expected, received) = (classifier.classes().len(), folders.len());
    if expected == received {
        return Ok(());
    }
    let error =
        Error::new(dir.display(), format_args!("{expected} folders, one for each class of the model"), received);
    Err(error.hint("the model holds no class names, so that its classes are the folders in alphabetical order").into())
}

fn with_bar(
    read: impl FnOnce(&mut dyn FnMut(usize, usize)) -> engraft::Result<PhotoFolder>,
) -> Result<PhotoFolder, Failure> {
    let bar = bar("Reading photos {bar:24} {pos}/{len}", 0);
    let folder = read(&mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let folder = folder?;
    report_skipped(&folder.skipped);
    Ok(folder)
}

fn report_skipped(skipped: &[Skipped]) {
    for Skipped { path, reason } in skipped.iter().take(SHOWN) {
        note(format_args!("warning: {}: skipped: {reason}", path.display()));
    }
    if skipped.len() > SHOWN {
        note(format_args!("warning: and {} more skipped", skipped.len() - SHOWN));
    }
}

/// `fish 81, fruit 54`: photos of each class.
pub(crate) fn by_class(folder: &PhotoFolder) -> Vec<(&str, usize)> {
    let count = |class| folder.photos.iter().filter(|photo| photo.class == class).count();
    folder.classes.iter().enumerate().map(|(class, name)| (name.as_str(), count(class))).collect()
}

/// `, 2 skipped` where there are any.
pub(crate) fn skipped_note(folder: &PhotoFolder) -> String {
    match folder.skipped.len() {
        0 => String::new(),
        skipped => format!(", {} skipped", output::count(skipped, "file")),
    }
}
