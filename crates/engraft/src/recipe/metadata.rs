//! The metadata of a classifier in its file: class names, backbone, seed.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Backbone, SplitRecord, UnknownRule};
use crate::applications::Preprocessing;
use crate::formats::{json, keras};
use crate::{Error, ErrorKind, Result};

/// The format version that is written. Older versions can be read.
const VERSION: u32 = 1;

/// The metadata of a classifier. The model file holds it as JSON in an entry `engraft.json`, which Keras ignores.
///
/// ```
/// use engraft::recipe::Metadata;
/// let metadata = Metadata::new(vec!["cat".into(), "dog".into()]);
/// let (name, json) = metadata.entry();
/// assert_eq!(name, "engraft.json");
/// assert_eq!(Metadata::from_json(&json)?, metadata);
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// Version of this format; [`Metadata::new`] sets it.
    pub version: u32,
    /// Class names in the order of the model's outputs.
    pub classes: Vec<String>,
    /// The network below the head, if a recipe built the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<Backbone>,
    /// The seed of the last training run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// When the answer is "unknown"; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<UnknownRule>,
    /// The decision threshold of each label of a multi-label model, a probability from 0 to 1, in the order of the classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Vec<f32>>,
    /// Whether the head was trained on all photos. If training continues, none of these photos can be held out of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trained_on_all_photos: bool,
    /// The preprocessing that a user asked for; the model has its layers in front. `None` if nobody asked for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<Preprocessing>,
    /// The photos that were trained on and held out, in an entry of its own; `None` if the file has none.
    #[serde(skip)]
    pub split: Option<SplitRecord>,
}

impl Metadata {
    /// The entry's name in a `.keras` file.
    ///
    /// ```
    /// use engraft::formats::keras;
    /// use engraft::prelude::*;
    /// use engraft::recipe::Metadata;
    /// # let folder = tempfile::tempdir()?;
    /// # let file = folder.path().join("pets.keras");
    /// let model = Sequential::new().add(Input::new([8, 8, 3])).add(Flatten::new()).add(Dense::new(2)).build()?;
    /// Classifier::new(model, Some(Metadata::new(vec!["cat".into(), "dog".into()])))?.save(&file)?;
    /// let json = keras::read_extra(&file, Metadata::ENTRY)?.ok_or("no metadata")?;
    /// assert_eq!(Metadata::from_json(&json)?.classes, ["cat", "dog"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const ENTRY: &'static str = "engraft.json";

    /// Metadata of class names alone.
    pub fn new(classes: Vec<String>) -> Self {
        Self {
            version: VERSION,
            classes,
            backbone: None,
            seed: None,
            unknown: None,
            thresholds: None,
            trained_on_all_photos: false,
            preprocessing: None,
            split: None,
        }
    }

    /// Reads the metadata of a `.keras` file or a whole-model `.h5`; `None` if it has none, as a file that Keras wrote.
    ///
    /// ```
    /// use engraft::prelude::*;
    /// use engraft::recipe::Metadata;
    /// let folder = tempfile::tempdir()?;
    /// let file = folder.path().join("pets.keras");
    /// let model = Sequential::new().add(Input::new([8, 8, 3])).add(Flatten::new()).add(Dense::new(2)).build()?;
    /// Classifier::new(model.clone(), Some(Metadata::new(vec!["cat".into(), "dog".into()])))?.save(&file)?;
    /// assert_eq!(Metadata::read(&file)?.map(|metadata| metadata.classes), Some(vec!["cat".into(), "dog".into()]));
    ///
    /// save_model(&model, &file)?;
    /// assert_eq!(Metadata::read(&file)?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The file can't be read, or its metadata is malformed.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let Some(json) = keras::read_extra(path, Self::ENTRY)? else { return Ok(None) };
        let within = |error: Error| error.within(path.display());
        let metadata = Self::from_json(&json).map_err(within)?;
        // Predictions don't need the record, so one that is damaged or of a later version counts as none.
        let split = keras::read_extra(path, SplitRecord::ENTRY)?;
        let split = split.and_then(|bytes| SplitRecord::from_bytes(&bytes).ok());
        let metadata = Self { split, ..metadata };
        let Some(rule) = metadata.unknown.clone().filter(|rule| rule.weight != 0.0) else { return Ok(Some(metadata)) };
        // A file that was converted from a `.keras` file has no class means. Without them, the rule would mean something else.
        let means = keras::read_extra(path, UnknownRule::ENTRY)?;
        let unknown = means.map(|means| rule.with_class_means(means)).transpose().map_err(within)?;
        Ok(Some(Self { unknown, ..metadata }))
    }

    /// Parses the JSON that [`entry`](Self::entry) writes, of this version or an older one.
    ///
    /// # Errors
    /// Malformed JSON, more values than any model has, a later version, two classes of one name, or thresholds that aren't a number
    /// from 0 to 1 for each class.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = json::parse(Self::ENTRY, text)?;
        if version > VERSION {
            return Err(Error::new(Self::ENTRY, format_args!("version {VERSION} at most"), version)
                .with_kind(ErrorKind::Unsupported)
                .hint("a newer engraft wrote this file: update this one"));
        }
        let metadata: Self = json::parse(Self::ENTRY, text)?;
        if let Some(thresholds) = &metadata.thresholds {
            let classes = metadata.classes.len();
            if thresholds.len() != classes || !thresholds.iter().all(|threshold| (0.0..=1.0).contains(threshold)) {
                let expected = format!("a threshold from 0 to 1 for each of {classes} classes");
                let error = Error::new(Self::ENTRY, expected, format_args!("{thresholds:?}"));
                return Err(error.with_kind(ErrorKind::InvalidData));
            }
        }
        let mut seen = HashSet::new();
        match metadata.classes.iter().find(|class| !seen.insert(*class)) {
            Some(twice) => Err(Error::new(Self::ENTRY, "class names that differ", format_args!("`{twice}` twice"))
                .with_kind(ErrorKind::InvalidData)),
            None => Ok(metadata),
        }
    }

    /// Names and contents of all entries of a `.keras` file: the JSON, the class means of the rule of "unknown", if it has any, and the
    /// record of the split, if there is one.
    ///
    /// ```
    /// use engraft::recipe::Metadata;
    /// let metadata = Metadata::new(vec!["cat".into(), "dog".into()]);
    /// assert_eq!(metadata.entries()?, [metadata.entry()]);
    /// # Ok::<(), engraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// The class means can't be written.
    pub fn entries(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let means = self.unknown.as_ref().map_or(Ok(None), UnknownRule::entry)?;
        let split = self.split.as_ref().and_then(SplitRecord::to_bytes);
        let split = split.map(|bytes| (SplitRecord::ENTRY.to_owned(), bytes));
        Ok(std::iter::once(self.entry()).chain(means).chain(split).collect())
    }

    /// Name and content of the JSON entry, for [`SaveOptions::extras`](keras::SaveOptions::extras).
    pub fn entry(&self) -> (String, Vec<u8>) {
        let json = serde_json::to_vec_pretty(self).expect("names and numbers are always JSON");
        (Self::ENTRY.to_owned(), json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let metadata =
            Metadata { backbone: Some(Backbone::VGG16), seed: Some(7), ..Metadata::new(vec!["a".into(), "b".into()]) };
        assert_eq!(Metadata::from_json(&metadata.entry().1).unwrap(), metadata);
        let several = Metadata { thresholds: Some(vec![0.25, 0.75]), ..metadata };
        assert_eq!(Metadata::from_json(&several.entry().1).unwrap(), several);
    }

    #[test]
    fn the_rule_of_unknown_is_dropped_without_its_class_means() {
        use crate::linear::ClassMeans;
        use crate::prelude::*;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.keras");
        let means = ClassMeans::new(vec![0.0; 2], vec![1.0; 2], vec![1.0, 0.0, 0.0, 1.0]).unwrap();
        let rule = |weight, class_means| UnknownRule { threshold: 1.5, weight, class_means };
        let model = Sequential::new().add(Input::new([2])).add(Dense::new(2)).build().unwrap();
        type Entries = fn(&Metadata) -> Vec<(String, Vec<u8>)>;
        let saved = |unknown: UnknownRule, entries: Entries| {
            let metadata = Metadata { unknown: Some(unknown), ..Metadata::new(vec!["a".into(), "b".into()]) };
            let options = keras::SaveOptions { extras: &entries(&metadata), ..keras::SaveOptions::default() };
            keras::save(&model, &path, &options).unwrap();
            Metadata::read(&path).unwrap().unwrap().unknown
        };
        let all = rule(3.0, Some(means));
        assert_eq!(saved(all.clone(), |metadata| metadata.entries().unwrap()), Some(all.clone()));
        assert_eq!(saved(all, |metadata| vec![metadata.entry()]), None);
        assert_eq!(saved(rule(0.0, None), |metadata| vec![metadata.entry()]), Some(rule(0.0, None)));
    }

    #[test]
    fn later_additions_are_passed_over_and_later_versions_refused() {
        let metadata = Metadata::from_json(br#"{"version": 1, "classes": ["a"], "licence": "MIT"}"#).unwrap();
        assert_eq!(metadata, Metadata::new(vec!["a".into()]));
        for (json, expected) in [
            (r#"{"version": 2, "names": []}"#, "expected version 1 at most, received 2\nhint: a newer engraft"),
            (r#"{"version": 1}"#, "missing field `classes`"),
            (r#"{"version": 1, "classes": ["a", "a"]}"#, "expected class names that differ, received `a` twice"),
            (r#"{"version": 1, "classes": ["a"], "thresholds": [0.5, 0.5]}"#, "each of 1 classes, received [0.5, 0.5]"),
            (r#"{"version": 1, "classes": ["a"], "thresholds": [1.5]}"#, "a threshold from 0 to 1"),
            ("[]", "engraft.json: "),
        ] {
            let error = Metadata::from_json(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
