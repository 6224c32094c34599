//! Reads folders of photos, shows the progress, and reports skipped files.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use engraft::Error;
use engraft::data::{KnownPhotos, LeftOut, Photo, PhotoFolder, SkippedFile};
use engraft::recipe::Classifier;
use engraft::runtime::Runtime;
use serde_json::Value;

use crate::decode_pool::decode_pool;
use crate::failure::Failure;
use crate::meter::{Meter, Unit};
use crate::options::PhotosArg;
use crate::output::{self, note, titled};

/// Maximum number of skipped files that are reported by name; the others are counted.
const SHOWN: usize = 20;

/// Scans a folder of photos without decoding them: unreadable photos are found when they are used. Its subfolders or the labels are
/// the classes; with `classes`, the labels must be among these.
pub(crate) fn list(args: &PhotosArg, classes: Option<&[String]>, runtime: &Runtime) -> Result<PhotoFolder, Failure> {
    read(args, classes, &|_| true, runtime)
}

fn read(
    args: &PhotosArg,
    classes: Option<&[String]>,
    known: KnownPhotos<'_>,
    runtime: &Runtime,
) -> Result<PhotoFolder, Failure> {
    let dir = &args.photos;
    with_meter(runtime, |progress| match &args.labels {
        Some(labels) => PhotoFolder::scan_labels(dir, labels, classes, known, progress),
        None => PhotoFolder::scan_knowing(dir, known, progress),
    })
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
    with_meter(runtime, |progress| PhotoFolder::scan_as_knowing(dir, classes, known, progress))
}

/// Like [`list`], with the classes of another folder.
pub(crate) fn list_as(dir: &Path, classes: &[String], runtime: &Runtime) -> Result<PhotoFolder, Failure> {
    with_meter(runtime, |progress| PhotoFolder::scan_as_knowing(dir, classes, &|_| true, progress))
}

/// Scans a folder for a model. Subfolders or labels are matched to classes by name, or by order if the model has no class names.
pub(crate) fn scan_for(args: &PhotosArg, classifier: &Classifier, runtime: &Runtime) -> Result<PhotoFolder, Failure> {
    read_for(args, classifier, &|_| false, runtime)
}

/// Like [`scan_for`], without decoding the photos: unreadable photos are found when they are used.
pub(crate) fn list_for(args: &PhotosArg, classifier: &Classifier, runtime: &Runtime) -> Result<PhotoFolder, Failure> {
    read_for(args, classifier, &|_| true, runtime)
}

fn read_for(
    args: &PhotosArg,
    classifier: &Classifier,
    known: KnownPhotos<'_>,
    runtime: &Runtime,
) -> Result<PhotoFolder, Failure> {
    let names = classifier.metadata().map(|_| classifier.classes());
    let folder = match (names, &args.labels) {
        (Some(classes), None) => scan_as_knowing(&args.photos, classes, known, runtime)?,
        _ => read(args, names, known, runtime)?,
    };
    check_labels(classifier, &folder)?;
    if names.is_none() {
        check_count(args, classifier, &folder.classes)?;
    }
    Ok(folder)
}

/// Checks that the model has as many classes as there are class folders or labels.
pub(crate) fn check_count(args: &PhotosArg, classifier: &Classifier, classes: &[String]) -> Result<(), Failure> {
    let (expected, received) = (classifier.classes().len(), classes.len());
    if expected == received {
        return Ok(());
    }
    let (place, what) = match &args.labels {
        Some(labels) => (labels.display(), "labels"),
        None => (args.photos.display(), "folders"),
    };
    let error = Error::new(place, format_args!("{expected} {what}, one for each class of the model"), received);
    Err(error
        .hint(format_args!("the model has no class names, so its classes are the {what} in alphabetical order"))
        .into())
}

/// Checks that photos with several labels meet a model that gives several.
pub(crate) fn check_labels(classifier: &Classifier, folder: &PhotoFolder) -> Result<(), Failure> {
    let Some(labels) = folder.label_file.as_ref().filter(|labels| labels.is_multi_label) else { return Ok(()) };
    if classifier.is_multi_label() {
        return Ok(());
    }
    let example = folder.photos.iter().find(|photo| photo.class().is_none());
    let received = example.map_or("several or none".to_owned(), |photo| match photo.labels.len() {
        0 => format!("none for {}", photo.path.display()),
        several => format!("{several} for {}", photo.path.display()),
    });
    Err(Error::new(labels.path.display(), "one label for each photo, as the model gives one", received)
        .hint("train a new model with these labels, without --model: it will give a photo several labels")
        .into())
}

/// Refuses a validation folder beside photos with several labels: its class folders can't tell several labels.
pub(crate) fn check_validation(dir: &Path, folder: &PhotoFolder) -> Result<(), Failure> {
    if !folder.is_multi_label() {
        return Ok(());
    }
    let received = format_args!("--validation {}, whose class folders tell one label", dir.display());
    Err(Error::new("--labels", "--validation-split where photos have several labels", received)
        .hint("use --validation-split 0.2; or, later, `engraft evaluate MODEL DIR --labels FILE.csv`")
        .into())
}

/// Calls `read` and shows its progress, in a pool of as many threads as `runtime` has, and reports the skipped files.
fn with_meter(
    runtime: &Runtime,
    read: impl FnOnce(&mut dyn FnMut(usize, usize)) -> engraft::Result<PhotoFolder> + Send,
) -> Result<PhotoFolder, Failure> {
    let folder = in_pool(runtime, "Reading photos", read)?;
    report_skipped(&folder.skipped);
    Ok(folder)
}

/// Calls `read` and shows its progress with this title, in a pool of as many threads as `runtime` has.
fn in_pool(
    runtime: &Runtime,
    title: &'static str,
    read: impl FnOnce(&mut dyn FnMut(usize, usize)) -> engraft::Result<PhotoFolder> + Send,
) -> Result<PhotoFolder, Failure> {
    let meter = Meter::new(title, Unit::Photos);
    let progress = &mut |done, total| meter.set(done as u64, total as u64);
    let folder = decode_pool(runtime)?.install(|| read(progress));
    meter.finish();
    Ok(folder?)
}

/// Warns of photos that are in two classes, or of copies with different labels, with the first pair.
pub(crate) fn warn_of_contradictions(folder: &PhotoFolder) {
    let mut first: HashMap<[u8; 32], &Photo> = HashMap::new();
    let (mut pair, mut contradicted) = (None, HashSet::new());
    for photo in &folder.photos {
        let other = *first.entry(photo.digest).or_insert(photo);
        if other.labels != photo.labels {
            pair.get_or_insert((other, photo));
            contradicted.insert(photo.digest);
        }
    }
    if let Some((one, other)) = pair {
        let (photos, one, other) =
            (output::count(contradicted.len(), "photo"), one.path.display(), other.path.display());
        let verb = if contradicted.len() == 1 { "is" } else { "are" };
        if folder.is_multi_label() {
            note(format_args!("warning: copies of {photos} have different labels, such as {one} and {other}"));
            return;
        }
        note(format_args!(
            "warning: {photos} {verb} in two classes, such as {one} and {other}: a photo can't be both; remove one"
        ));
    }
}

/// Warns of classes that differ only in the case or in spaces of their names, and of classes with one photo, which no cross-validation
/// can measure.
pub(crate) fn warn_of_classes(folder: &PhotoFolder) {
    let mut first: HashMap<String, &str> = HashMap::new();
    for class in &folder.classes {
        let plain = class.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(other) = first.insert(plain, class) {
            note(format_args!(
                "warning: classes `{other}` and `{class}` differ only in case or spaces: one class or two?"
            ));
        }
    }
    let count = |class: usize| folder.photos.iter().filter(|photo| photo.labels.contains(&class)).count();
    let alone: Vec<&str> =
        (0..folder.classes.len()).filter(|&class| count(class) == 1).map(|class| &*folder.classes[class]).collect();
    if let Some(class) = alone.first() {
        let classes = match alone.len() {
            1 => format!("class {class} has"),
            others => format!("{others} classes, such as {class}, have"),
        };
        note(format_args!("warning: {classes} one photo: the score can't tell how well it is recognised"));
    }
}

/// Names the skipped files on standard error, each with its reason; beyond [`SHOWN`] files, counts them by reason.
pub(crate) fn report_skipped(skipped: &[SkippedFile]) {
    for SkippedFile { path, reason } in skipped.iter().take(SHOWN) {
        note(format_args!("warning: {}: skipped: {reason}", path.display()));
    }
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for SkippedFile { reason, .. } in skipped.iter().skip(SHOWN) {
        *reasons.entry(reason).or_default() += 1;
    }
    for (reason, files) in reasons {
        note(format_args!("warning: and {files} more skipped: {reason}"));
    }
}

/// Number of photos and classes, and what was left out: `18 photos of 3 classes, 2 files skipped`.
pub(crate) fn in_numbers(photos: usize, folder: &PhotoFolder) -> String {
    let (photos, classes) = (output::count(photos, "photo"), folder.classes.len());
    let kind = if folder.is_multi_label() { "with any of" } else { "of" };
    let what = if folder.is_multi_label() { "labels" } else { "classes" };
    format!("{photos} {kind} {classes} {what}{}", skipped_note(folder))
}

/// The number of photos of each class: `cat 3, dog 4`. A photo with several labels counts for each.
pub(crate) fn by_class(folder: &PhotoFolder) -> String {
    let count = |class| folder.photos.iter().filter(|photo| photo.labels.contains(&class)).count();
    let classes = folder.classes.iter().enumerate().map(|(class, name)| format!("{name} {}", count(class)));
    let with = |name: &str, wanted: fn(usize) -> bool| {
        let photos = folder.photos.iter().filter(|photo| wanted(photo.labels.len())).count();
        (photos > 0).then(|| format!("{name} {photos}"))
    };
    classes
        .chain(with("several labels", |labels| labels > 1))
        .chain(with("no label", |labels| labels == 0))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The overview's line of files that aren't photos; `None` if there are none.
pub(crate) fn left_out_line(folder: &PhotoFolder) -> Option<String> {
    (!folder.left_out.is_empty()).then(|| titled("Left out", &folder.left_out))
}

/// Tells on standard error which files of a folder aren't photos, for commands without an overview.
pub(crate) fn note_left_out(folder: &Path, left_out: &LeftOut) {
    if !left_out.is_empty() {
        note(format_args!("note: {}: left out: {left_out}", folder.display()));
    }
}

/// Adds the numbers of files that aren't photos to a JSON object, by extension.
pub(crate) fn add_left_out(folder: &PhotoFolder, json: &mut Value) {
    let LeftOut { extensions, others, hidden, folders, .. } = &folder.left_out;
    json["left_out"] =
        serde_json::json!({ "extensions": extensions, "others": others, "hidden": hidden, "folders": folders });
}

/// Adds the number of photos without a row in the label file, if there is one, to a JSON object.
pub(crate) fn add_unlabelled(folder: &PhotoFolder, json: &mut Value) {
    if let Some(labels) = &folder.label_file {
        json["unlabelled"] = labels.unlabelled.into();
    }
}

/// A note such as `, 2 files skipped, 1 photo without a row left out` to append to a line; empty if nothing was left out.
pub(crate) fn skipped_note(folder: &PhotoFolder) -> String {
    let unlabelled = folder.label_file.as_ref().map_or(0, |labels| labels.unlabelled);
    let part = |number: usize, what: &str, why: &str| match number {
        0 => String::new(),
        number => format!(", {} {why}", output::count(number, what)),
    };
    part(folder.skipped.len(), "file", "skipped") + &part(unlabelled, "photo", "without a row left out")
}

#[cfg(test)]
mod tests {
    use super::*;
    use engraft::data::{LabelFile, Photo};

    #[test]
    fn photos_are_counted_for_each_of_their_labels() {
        let photo = |labels: &[usize]| Photo { path: "1.jpg".into(), labels: labels.to_vec(), digest: [0; 32] };
        let photos = vec![photo(&[0, 1]), photo(&[]), photo(&[1])];
        let label_file = Some(LabelFile { path: "l.csv".into(), is_multi_label: true, unlabelled: 1 });
        let classes = vec!["car".to_owned(), "red".to_owned()];
        let folder = PhotoFolder { classes, photos, label_file, ..PhotoFolder::default() };
        assert_eq!(by_class(&folder), "car 1, red 2, several labels 1, no label 1");
        assert_eq!(in_numbers(3, &folder), "3 photos with any of 2 labels, 1 photo without a row left out");
        let folder = PhotoFolder { label_file: None, photos: vec![photo(&[0])], ..folder };
        assert_eq!(
            (by_class(&folder).as_str(), in_numbers(1, &folder).as_str()),
            ("car 1, red 0", "1 photo of 2 classes")
        );
    }

    #[test]
    fn photos_are_decoded_by_as_many_threads_as_wanted() {
        let runtime = Runtime::cpu(Some(3)).unwrap();
        let mut threads = 0;
        let folder = with_meter(&runtime, |_| {
            threads = rayon::current_num_threads();
            Ok(PhotoFolder::default())
        });
        assert!(folder.is_ok());
        assert_eq!(threads, 3);
    }
}
