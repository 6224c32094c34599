//! Reads folders of photos with a progress bar, and reports skipped files.

use std::collections::{HashMap, HashSet};
use std::io::{self, IsTerminal};
use std::path::Path;

use engraft::Error;
use engraft::data::{KnownPhotos, Photo, PhotoFolder, SkippedFile};
use engraft::recipe::Classifier;
use engraft::runtime::Runtime;
use indicatif::{ProgressBar, ProgressStyle};

use crate::decode_pool::decode_pool;
use crate::failure::Failure;
use crate::output::{self, note};

/// Maximum number of skipped files that are reported by name; the others are counted.
const SHOWN: usize = 20;

/// A progress bar, hidden without a terminal.
pub(crate) fn bar(template: &str, length: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style.progress_chars("━╸ "))
}

/// Scans a folder of photos. Its subfolders are the classes.
pub(crate) fn scan(dir: &Path, runtime: &Runtime) -> Result<PhotoFolder, Failure> {
    with_bar(runtime, |progress| PhotoFolder::scan(dir, progress))
}

/// Scans a folder of photos with the classes of a model. Its subfolders must be named after them.
pub(crate) fn scan_as(dir: &Path, classes: &[String], runtime: &Runtime) -> Result<PhotoFolder, Failure> {
    with_bar(runtime, |progress| PhotoFolder::scan_as(dir, classes, progress))
}

/// Lists the photos of a folder without decoding them: unreadable photos are found when they are used.
pub(crate) fn list(dir: &Path, runtime: &Runtime) -> Result<PhotoFolder, Failure> {
    with_bar(runtime, |progress| PhotoFolder::scan_knowing(dir, &|_| true, progress))
}

/// Decodes the photos of a listed folder that aren't `known`, and leaves out those that can't be read.
pub(crate) fn verify(
    dir: &Path,
    mut listed: PhotoFolder,
    known: KnownPhotos<'_>,
    runtime: &Runtime,
) -> Result<PhotoFolder, Failure> {
    let reported = listed.skipped.len();
    let verify = |progress: &mut dyn FnMut(usize, usize)| listed.verify(dir, known, progress).map(|()| listed);
    let folder = in_pool(runtime, "Decoding photos", verify)?;
    report_skipped(&folder.skipped[reported..]);
    Ok(folder)
}

/// Scans a folder with the classes of another one, without decoding the photos that are `known`.
pub(crate) fn scan_as_knowing(
    dir: &Path,
    classes: &[String],
    known: KnownPhotos<'_>,
    runtime: &Runtime,
) -> Result<PhotoFolder, Failure> {
    with_bar(runtime, |progress| PhotoFolder::scan_as_knowing(dir, classes, known, progress))
}

/// Like [`list`], with the classes of another folder.
pub(crate) fn list_as(dir: &Path, classes: &[String], runtime: &Runtime) -> Result<PhotoFolder, Failure> {
    with_bar(runtime, |progress| PhotoFolder::scan_as_knowing(dir, classes, &|_| true, progress))
}

/// Scans a folder for a model. Subfolders are matched to classes by name, or by order if the model has no class names.
pub(crate) fn scan_for(dir: &Path, classifier: &Classifier, runtime: &Runtime) -> Result<PhotoFolder, Failure> {
    if classifier.metadata().is_some() {
        return scan_as(dir, classifier.classes(), runtime);
    }
    let folder = scan(dir, runtime)?;
    check_count(dir, classifier, &folder.classes)?;
    Ok(folder)
}

/// Checks that the model has as many classes as there are class folders.
pub(crate) fn check_count(dir: &Path, classifier: &Classifier, folders: &[String]) -> Result<(), Failure> {
    let (expected, received) = (classifier.classes().len(), folders.len());
    if expected == received {
        return Ok(());
    }
    let error =
        Error::new(dir.display(), format_args!("{expected} folders, one for each class of the model"), received);
    Err(error.hint("the model has no class names, so its classes are the folders in alphabetical order").into())
}

/// Calls `read` with a progress bar, in a pool of as many threads as `runtime` has, and reports the skipped files.
fn with_bar(
    runtime: &Runtime,
    read: impl FnOnce(&mut dyn FnMut(usize, usize)) -> engraft::Result<PhotoFolder> + Send,
) -> Result<PhotoFolder, Failure> {
    let folder = in_pool(runtime, "Reading photos", read)?;
    report_skipped(&folder.skipped);
    Ok(folder)
}

/// Calls `read` with a progress bar of this title, in a pool of as many threads as `runtime` has.
fn in_pool(
    runtime: &Runtime,
    title: &'static str,
    read: impl FnOnce(&mut dyn FnMut(usize, usize)) -> engraft::Result<PhotoFolder> + Send,
) -> Result<PhotoFolder, Failure> {
    let bar = bar("{msg} {bar:24} {pos}/{len}", 0).with_message(title);
    let progress = &mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let folder = decode_pool(runtime)?.install(|| read(progress));
    bar.finish_and_clear();
    Ok(folder?)
}

/// Warns of photos that are in two classes, with the first pair.
pub(crate) fn warn_of_contradictions(photos: &[Photo]) {
    let mut first: HashMap<[u8; 32], &Photo> = HashMap::new();
    let (mut pair, mut contradicted) = (None, HashSet::new());
    for photo in photos {
        let other = *first.entry(photo.digest).or_insert(photo);
        if other.class != photo.class {
            pair.get_or_insert((other, photo));
            contradicted.insert(photo.digest);
        }
    }
    if let Some((one, other)) = pair {
        let (photos, one, other) =
            (output::count(contradicted.len(), "photo"), one.path.display(), other.path.display());
        let verb = if contradicted.len() == 1 { "is" } else { "are" };
        note(format_args!(
            "warning: {photos} {verb} in two classes, such as {one} and {other}: a photo can't be both; remove one"
        ));
    }
}

/// Names the skipped files on standard error, each with its reason.
pub(crate) fn report_skipped(skipped: &[SkippedFile]) {
    for SkippedFile { path, reason } in skipped.iter().take(SHOWN) {
        note(format_args!("warning: {}: skipped: {reason}", path.display()));
    }
    if skipped.len() > SHOWN {
        note(format_args!("warning: and {} more skipped", skipped.len() - SHOWN));
    }
}

/// Name and number of photos of each class.
pub(crate) fn by_class(folder: &PhotoFolder) -> Vec<(&str, usize)> {
    let count = |class| folder.photos.iter().filter(|photo| photo.class == class).count();
    folder.classes.iter().enumerate().map(|(class, name)| (name.as_str(), count(class))).collect()
}

/// A note such as `, 2 files skipped` to append to a line; empty if no file was skipped.
pub(crate) fn skipped_note(folder: &PhotoFolder) -> String {
    match folder.skipped.len() {
        0 => String::new(),
        skipped => format!(", {} skipped", output::count(skipped, "file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_are_decoded_by_as_many_threads_as_wanted() {
        let runtime = Runtime::cpu(Some(3)).unwrap();
        let mut threads = 0;
        let folder = with_bar(&runtime, |_| {
            threads = rayon::current_num_threads();
            Ok(PhotoFolder { classes: Vec::new(), photos: Vec::new(), skipped: Vec::new() })
        });
        assert!(folder.is_ok());
        assert_eq!(threads, 3);
    }
}
