//! What travels with a model beside what Keras keeps of it.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Backbone;
use crate::formats::{json, keras};
use crate::{Error, ErrorKind, Result};

/// The version of the entry that is written; older ones can be read.
const VERSION: u32 = 1;

/// What a `.keras` file says beside Keras' own entries: JSON in an entry `engraft.json`, which Keras ignores.
///
/// ```
/// use engraft::recipe::Facts;
/// let facts = Facts::new(vec!["cat".into(), "dog".into()]);
/// let (name, json) = facts.entry();
/// assert_eq!(name, "engraft.json");
/// assert_eq!(Facts::from_json(&json)?, facts);
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Which form of the entry this is; [`Facts::new`] sets it.
    pub version: u32,
    /// Class names in the order of the model's outputs.
    pub classes: Vec<String>,
    /// The network below the head, where a recipe made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<Backbone>,
    /// Paths of the layers of the [`Base`](super::Base), such as `block1_conv1`, or `vgg16/block1_conv1` in a nested
    /// model; empty where none is recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base: Vec<String>,
    /// The seed it was trained with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Facts {
    /// The entry's name in a `.keras` file.
    pub const ENTRY: &'static str = "engraft.json";

    /// Class names alone.
    pub fn new(classes: Vec<String>) -> Self {
        Self { version: VERSION, classes, backbone: None, base: Vec::new(), seed: None }
    }

    /// The facts in a `.keras` file; `None` where engraft hasn't written it.
    ///
    /// # Errors
    /// The file can't be read, or its facts aren't what they should be.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let json = keras::read_extra(path, Self::ENTRY)?;
        json.map(|json| Self::from_json(&json).map_err(|error| error.within(path.display()))).transpose()
    }

    /// Reads what [`entry`](Self::entry) wrote, of this version or an older one.
    ///
    /// # Errors
    /// Not JSON of that form, of more values than any model has, a version that isn't known yet, or two classes of one name.
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
        let facts: Self = json::parse(Self::ENTRY, text)?;
        let mut seen = HashSet::new();
        match facts.classes.iter().find(|class| !seen.insert(*class)) {
            Some(twice) => Err(Error::new(Self::ENTRY, "class names that differ", format_args!("`{twice}` twice"))
                .with_kind(ErrorKind::InvalidData)),
            None => Ok(facts),
        }
    }

    /// Name and content of the entry, for [`SaveOptions::extras`](keras::SaveOptions::extras).
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
        let facts = Facts {
            backbone: Some(Backbone::Vgg16),
            base: vec!["block1_conv1".into()],
            seed: Some(7),
            ..Facts::new(vec!["a".into(), "b".into()])
        };
        assert_eq!(Facts::from_json(&facts.entry().1).unwrap(), facts);
    }

    #[test]
    fn later_additions_are_passed_over_and_later_versions_refused() {
        let facts = Facts::from_json(br#"{"version": 1, "classes": ["a"], "licence": "MIT"}"#).unwrap();
        assert_eq!(facts, Facts::new(vec!["a".into()]));
        for (json, expected) in [
            (r#"{"version": 2, "names": []}"#, "expected version 1 at most, received 2\nhint: a newer engraft"),
            (r#"{"version": 1}"#, "missing field `classes`"),
            (r#"{"version": 1, "classes": ["a", "a"]}"#, "expected class names that differ, received `a` twice"),
            ("[]", "engraft.json: "),
        ] {
            let error = Facts::from_json(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
