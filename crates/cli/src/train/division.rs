//! Divides the photos of gradient training into a training set and a validation set, and says which figures can't be trusted.
//!
//! Photos that a saved model held out stay held out: its file records them by content.

use std::path::Path;

use engraft::data::{Part, Photo, Split, split, split_new};
use engraft::recipe::{Classifier, SplitRecord};

use super::Args;
use crate::failure::Failure;
use crate::output::{count, line, note, titled};

/// The share of held-out photos without `--validation-split`.
const SHARE: f64 = 0.2;

/// What is known of the photos that a saved model was trained on.
pub(super) enum Past<'a> {
    /// A new model: nothing was trained.
    New,
    /// The model file records them.
    Recorded { model: &'a Path, record: SplitRecord, is_multi_label: bool },
    /// The model file doesn't tell.
    Unrecorded { model: &'a Path, origin: Origin, is_multi_label: bool },
}

/// Where a model comes from whose file doesn't record its photos.
#[derive(Clone, Copy)]
pub(super) enum Origin {
    /// An earlier version of the default recipe, which held no photo out.
    TrainedOnAll,
    /// This program, in an earlier version or going on from a model without a record.
    Engraft,
    /// Another program.
    Other,
}

impl<'a> Past<'a> {
    /// What `classifier` knows, the model of `--model`.
    pub(super) fn of(args: &'a Args, classifier: Option<&Classifier>) -> Self {
        let (Some(model), Some(classifier)) = (&args.model, classifier) else { return Self::New };
        let (metadata, is_multi_label) = (classifier.metadata(), classifier.is_multi_label());
        match metadata.and_then(|metadata| metadata.split.clone()).filter(|record| !record.is_partial()) {
            Some(record) => Self::Recorded { model, record, is_multi_label },
            None => Self::Unrecorded {
                model,
                origin: match metadata {
                    Some(metadata) if metadata.trained_on_all_photos => Origin::TrainedOnAll,
                    Some(_) => Origin::Engraft,
                    None => Origin::Other,
                },
                is_multi_label,
            },
        }
    }

    /// The part of a photo in earlier runs; `None` if it is new, or nothing is known.
    fn part(&self, digest: &[u8; 32]) -> Option<Part> {
        match self {
            Self::Recorded { record, .. } => record.part(digest),
            Self::New | Self::Unrecorded { .. } => None,
        }
    }

    /// The number of photos in this part.
    fn count(&self, photos: &[Photo], part: Option<Part>) -> usize {
        photos.iter().filter(|photo| self.part(&photo.digest) == part).count()
    }
}

/// Holds out a share of the photos.
pub(super) fn divide(args: &Args, photos: &[Photo], past: &Past<'_>) -> Result<Split, Failure> {
    let fraction = args.validation_split.unwrap_or(SHARE);
    let Past::Recorded { model, .. } = past else {
        let parts = split(photos, fraction, args.seed)?;
        warn_of_unrecorded(past, &parts.validation)?;
        return Ok(parts);
    };
    if fraction == 0.0 {
        let parts = split(photos, fraction, args.seed)?;
        note_of_trained(past, &parts.training);
        return Ok(parts);
    }
    match split_new(photos, &|digest| past.part(digest), fraction, args.seed) {
        Ok(parts) => {
            note(format_args!("note: {}", stays(past, model, &parts, photos)));
            Ok(parts)
        }
        // There is nothing to hold out that the model hasn't seen. Photos that it has seen tell at least when training diverges.
        Err(_) => {
            let parts = split(photos, fraction, args.seed)?;
            warn_of_seen(past, &parts.validation);
            Ok(parts)
        }
    }
}

/// Says what is known of a validation set from another folder.
pub(super) fn check_validation(past: &Past<'_>, parts: &Split) {
    note_of_trained(past, &parts.training);
    warn_of_seen(past, &parts.validation);
}

/// Says which photos stay held out: `68 photos that m.keras held out stay held out; 12 new photos: 2 held out`.
fn stays(past: &Past<'_>, model: &Path, parts: &Split, photos: &[Photo]) -> String {
    let (kept, model) = (past.count(&parts.validation, Some(Part::Validation)), model.display());
    let earlier = match kept {
        0 => format!("{model} was trained on {} of these photos", past.count(photos, Some(Part::Training))),
        1 => format!("1 photo that {model} held out stays held out"),
        kept => format!("{kept} photos that {model} held out stay held out"),
    };
    match (past.count(photos, None), past.count(&parts.validation, None)) {
        (0, _) => earlier,
        (new, held_out) => format!("{earlier}; {}: {held_out} held out", count(new, "new photo")),
    }
}

/// Says how many photos that were held out are trained on now.
fn note_of_trained(past: &Past<'_>, training: &[Photo]) {
    let Past::Recorded { model, .. } = past else { return };
    match past.count(training, Some(Part::Validation)) {
        0 => {}
        seen => note(format_args!(
            "note: {} that {} held out {} trained on now: accuracy on them will look too good",
            count(seen, "photo"),
            model.display(),
            if seen == 1 { "is" } else { "are" }
        )),
    }
}

/// Warns of validation photos that the model was trained on.
fn warn_of_seen(past: &Past<'_>, validation: &[Photo]) {
    let Past::Recorded { model, is_multi_label, .. } = past else { return };
    let seen = past.count(validation, Some(Part::Training));
    let (model, all) = (model.display(), validation.len());
    if seen == 0 {
        return;
    }
    let what = match seen == all {
        true => "the model was trained on all its photos".to_owned(),
        false => format!("{model} was trained on {seen} of {}", count(all, "validation photo")),
    };
    note(format_args!("warning: {what}: val_loss and val_accuracy will look too good; {}", instead(*is_multi_label)));
}

/// What to do for figures that can be trusted. The class folders of `--validation` can't tell several labels.
fn instead(is_multi_label: bool) -> &'static str {
    match is_multi_label {
        true => "measure it on other photos with `engraft evaluate`",
        false => "use --validation with other photos",
    }
}

/// Says that the model may have been trained on validation photos, as its file doesn't tell.
fn warn_of_unrecorded(past: &Past<'_>, validation: &[Photo]) -> Result<(), Failure> {
    let Past::Unrecorded { model, origin, is_multi_label } = past else { return Ok(()) };
    if validation.is_empty() {
        return Ok(());
    }
    let (model, instead) = (model.display(), instead(*is_multi_label));
    let may_have = format!(
        "{model} doesn't record which photos it was trained on: if these are among them, val_loss and val_accuracy will look too \
         good; {instead}"
    );
    match origin {
        Origin::TrainedOnAll => note(format_args!(
            "warning: the model was trained on all its photos: accuracy on some of them will look too good; {instead}"
        )),
        Origin::Engraft => note(format_args!("warning: {may_have}")),
        // A model of another program, such as a network without a head of its own yet: nothing speaks for these photos.
        Origin::Other => line(titled("Note", may_have))?,
    }
    Ok(())
}
