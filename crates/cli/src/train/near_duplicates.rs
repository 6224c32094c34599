//! Says which photos show the same picture, and which scores this makes too good.

use engraft::Result;
use engraft::cache::FeatureCache;
use engraft::data::Photo;
use engraft::recipe::{Interrupt, NearDuplicates, ProbeReport};
use engraft::runtime::Runtime;
use serde_json::{Value, json};

use crate::meter::{Meter, Unit};
use crate::output::{count, note, thousands};

/// The notes and warnings, each with a pair.
pub(super) fn notes(report: &ProbeReport) -> Vec<String> {
    let found = &report.near_duplicates;
    let mut notes = Vec::new();
    if let [first, ..] = found.training.as_slice() {
        let pairs = count(found.training.len(), "pair");
        let share = match found.series.is_empty() {
            true => "they share a fold, so that the score isn't too good",
            false => "they share a fold, but for those of a series",
        };
        notes.push(format!("note: {pairs} of photos show the same picture, such as {}: {share}", names(first)));
    }
    let series = found.series.iter().max_by_key(|(_, photos)| *photos);
    if let Some(&(class, photos)) = series {
        let class = &report.folder.classes[class];
        notes.push(format!(
            "warning: {photos} photos of {class} show nearly the same picture, as those of one series: the score holds for photos of \
             this series, and may be too good for others"
        ));
    }
    let contradictory: Vec<&(Photo, Photo)> = found.in_two_classes().collect();
    if let [first, ..] = contradictory.as_slice() {
        let (pairs, names) = (count(contradictory.len(), "pair"), names(first));
        let what = if report.labels.is_some() { "have different labels" } else { "are in two classes" };
        notes.push(format!(
            "warning: {pairs} of photos that show the same picture {what}, such as {names}: is each where it belongs?"
        ));
    }
    if let [first, ..] = found.held_out.as_slice() {
        let (pairs, names) = (count(found.held_out.len(), "held-out photo"), names(first));
        notes.push(format!(
            "warning: {pairs} show the same picture as a training photo, such as {names}: the score on held-out photos is too good"
        ));
    }
    notes
}

/// Warns of held-out photos of gradient training that show the same picture as a training photo.
///
/// # Errors
/// Too little memory for the thumbnails.
pub(super) fn across_split(
    (training, held_out): (&[Photo], &[Photo]),
    cache: Option<&FeatureCache>,
    runtime: &Runtime,
) -> Result<()> {
    if held_out.is_empty() {
        return Ok(());
    }
    note_of_limit(training.len() + held_out.len());
    let (off, meter) = (FeatureCache::off(), Meter::new("Comparing", Unit::Photos));
    let interrupt = Interrupt::new();
    let mut progress = |done, total| meter.set(done as u64, total as u64);
    let place = (runtime, cache.unwrap_or(&off));
    let found = NearDuplicates::across(training, held_out, place, &interrupt, &mut progress)?;
    meter.finish();
    let held_out = found.map(|found| found.held_out).unwrap_or_default();
    if let [first, ..] = held_out.as_slice() {
        let (photos, names) = (count(held_out.len(), "held-out photo"), names(first));
        note(format_args!(
            "warning: {photos} show the same picture as a training photo, such as {names}: val_loss and val_accuracy are too good"
        ));
    }
    Ok(())
}

/// Says that too many photos are given to look for near duplicates.
pub(super) fn note_of_limit(photos: usize) {
    if photos > NearDuplicates::MAX_PHOTOS {
        let most = thousands(NearDuplicates::MAX_PHOTOS);
        note(format_args!("note: photos that show the same picture aren't looked for among more than {most}"));
    }
}

pub(super) fn to_json(found: &NearDuplicates) -> Value {
    json!({
        "pairs": found.training.len(),
        "in_two_classes": found.in_two_classes().count(),
        "held_out": found.held_out.len(),
    })
}

fn names((one, other): &(Photo, Photo)) -> String {
    format!("{} and {}", one.path.display(), other.path.display())
}
