//! [`Record`]: the results of a run, in a file that grows by a line for each range of models.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use engraft_nn::{Error, Result};
use serde::{Deserialize, Serialize};

/// What came out for one model.
pub(crate) enum Outcome {
    Agrees,
    /// engraft doesn't support the model, and says why.
    Refused(String),
    /// The model shows nothing, or Keras can't save or compute it.
    Unusable(String),
    Differs(Vec<String>),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agrees => f.write_str("agrees"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Unusable(why) => write!(f, "unusable: {why}"),
            Self::Differs(what) => write!(f, "differs: {}", what.join("; ")),
        }
    }
}

/// The results of a range of models: a line of the record.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Results {
    seed: u64,
    first: usize,
    end: usize,
    agree: usize,
    /// Models that Keras can't save or compute, or that show nothing.
    unusable: usize,
    /// Reasons of models that are refused, by number of the model.
    refused: BTreeMap<usize, String>,
    differ: BTreeMap<usize, Vec<String>>,
}

impl Results {
    fn count(&mut self, index: usize, outcome: &Outcome) {
        match outcome {
            Outcome::Agrees => self.agree += 1,
            Outcome::Unusable(_) => self.unusable += 1,
            Outcome::Refused(why) => _ = self.refused.insert(index, why.clone()),
            Outcome::Differs(what) => _ = self.differ.insert(index, what.clone()),
        }
    }

    fn extend(&mut self, other: Self) {
        self.agree += other.agree;
        self.unusable += other.unusable;
        self.refused.extend(other.refused);
        self.differ.extend(other.differ);
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { agree, unusable, refused, differ, .. } = self;
        let (refused, differ) = (refused.len(), differ.len());
        write!(f, "{agree} agree, {refused} are refused by name, {differ} differ; {unusable} weren't comparable")
    }
}

/// The results so far of one seed.
pub(crate) struct Record {
    path: Option<PathBuf>,
    seed: u64,
    /// The first model without results.
    pub(crate) next: usize,
    pub(crate) total: Results,
}

impl Record {
    /// Reads the lines of `seed` from a record, if there is one.
    pub(crate) fn open(path: Option<&Path>, seed: u64) -> Result<Self> {
        let mut record = Self { path: path.map(Path::to_owned), seed, next: 0, total: Results::default() };
        let Some(path) = path.filter(|path| path.exists()) else { return Ok(record) };
        let text = std::fs::read_to_string(path).map_err(|error| Error::from_source(path.display(), error))?;
        for line in text.lines() {
            let results: Results =
                serde_json::from_str(line).map_err(|error| Error::from_source(path.display(), error))?;
            if results.seed == seed {
                record.next = record.next.max(results.end);
                record.total.extend(results);
            }
        }
        Ok(record)
    }

    /// Whether no model of the record differs.
    pub(crate) fn agrees(&self) -> bool {
        self.total.differ.is_empty()
    }

    /// Adds the results of a range; returns whether none differs.
    pub(crate) fn add(&mut self, range: Range<usize>, outcomes: &[(usize, Outcome)]) -> Result<bool> {
        let mut results = Results { seed: self.seed, first: range.start, end: range.end, ..Results::default() };
        outcomes.iter().for_each(|(index, outcome)| results.count(*index, outcome));
        println!("models {} to {}: {results}", range.start, range.end - 1);
        if let Some(path) = &self.path {
            let line = serde_json::to_string(&results).map_err(|error| Error::from_source("record", error))?;
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.and_then(|mut file| writeln!(file, "{line}"))
                .map_err(|error| Error::from_source(path.display(), error))?;
        }
        let agreed = results.differ.is_empty();
        self.total.extend(results);
        Ok(agreed)
    }
}
