//! [`UnknownRule`]: when a classifier answers "unknown".

use engraft_linear::threshold::log_odds;
use engraft_linear::{ClassMeans, threshold};
use serde::{Deserialize, Serialize};

use crate::formats::FloatType;
use crate::formats::safetensors;
use crate::{Error, ErrorKind, Result, Tensor};

/// When a classifier answers "unknown": the score of the answer is below a threshold.
///
/// The score is the logarithm of the largest probability over the sum of the others, plus `weight` times the largest cosine between
/// the features of the photo and a class mean ([`ClassMeans`]). So the rule sees both that the classes are close to each other and
/// that the photo is far from all of them.
///
/// ```
/// use engraft::recipe::UnknownRule;
/// let rule = UnknownRule { threshold: 2.0, weight: 0.0, class_means: None };
/// // Odds of 9 to 1 have a logarithm of 2.2, odds of 6 to 4 one of 0.4.
/// assert!(!rule.is_unknown(&[0.9, 0.1], None) && rule.is_unknown(&[0.6, 0.4], None));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnknownRule {
    /// Answers with a score below this are "unknown".
    pub threshold: f32,
    /// How much the cosine counts; 0 without class means.
    pub weight: f32,
    /// The class means; in a file of their own.
    #[serde(skip)]
    pub class_means: Option<ClassMeans>,
}

impl UnknownRule {
    /// The name of the class means' entry in a `.keras` file.
    pub(super) const ENTRY: &'static str = "engraft.class_means.safetensors";

    /// The rule that was chosen on out-of-fold answers; `None` if no answer was right.
    pub(super) fn new(chosen: threshold::Unknown, class_means: Option<ClassMeans>) -> Result<Option<Self>> {
        if !chosen.threshold.is_finite() {
            return Ok(None);
        }
        let class_means = class_means.filter(|_| chosen.weight != 0.0);
        let rule = Self { threshold: chosen.threshold, weight: chosen.weight, class_means: None };
        // The stored class means are rounded. With the same ones here, a classifier decides the same before and after it is saved.
        class_means.map_or(Ok(Some(rule.clone())), |means| rule.with_class_means(to_bytes(&means)?).map(Some))
    }

    /// Whether the answer is "unknown". `features` are what the last layer sees. A rule with class means can't tell without them.
    pub fn is_unknown(&self, probabilities: &[f32], features: Option<&[f32]>) -> bool {
        let cosine = match (&self.class_means, features) {
            (None, _) => 0.0,
            (Some(means), Some(features)) if features.len() == means.dim() => means.cosine(features),
            (Some(_), _) => return false,
        };
        log_odds(probabilities) + self.weight * cosine < self.threshold
    }

    /// The entry of the class means, if the rule has any.
    pub(super) fn entry(&self) -> Result<Option<(String, Vec<u8>)>> {
        self.class_means.as_ref().map(|means| Ok((Self::ENTRY.to_owned(), to_bytes(means)?))).transpose()
    }

    /// The rule with the class means of an entry.
    pub(super) fn with_class_means(self, entry: Vec<u8>) -> Result<Self> {
        let read = || {
            let mut arrays = safetensors::from_bytes(entry)?;
            let mut take = |name: &str| -> Result<Vec<f32>> {
                match arrays.iter().position(|array| array.0 == name) {
                    Some(at) => Ok(arrays.swap_remove(at).1.into_data()),
                    None => Err(Error::new("arrays", format_args!("an array `{name}`"), "none")),
                }
            };
            let (mean, scale, directions) = (take("mean")?, take("scale")?, take("directions")?);
            ClassMeans::new(mean, scale, directions).map_err(|error| Error::from_source("class means", error))
        };
        let means = read().map_err(|error| error.within(Self::ENTRY).with_kind(ErrorKind::InvalidData))?;
        Ok(Self { class_means: Some(means), ..self })
    }
}

fn to_bytes(means: &ClassMeans) -> Result<Vec<u8>> {
    let dim = means.dim();
    let [mean, scale] = [means.mean(), means.scale()].map(|values| Tensor::new([dim], values.to_vec()));
    let directions = Tensor::new([means.directions().len() / dim, dim], means.directions().to_vec())?;
    safetensors::to_bytes(&[("mean", &mean?), ("scale", &scale?), ("directions", &directions)], FloatType::F16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> UnknownRule {
        let means = ClassMeans::new(vec![0.0; 2], vec![1.0; 2], vec![1.0, 0.0, 0.0, 1.0]).unwrap();
        UnknownRule { threshold: 1.0, weight: 2.0, class_means: Some(means) }
    }

    #[test]
    fn a_sure_answer_is_unknown_if_the_photo_is_far_from_all_classes() {
        let sure = [0.9, 0.1];
        assert!(!rule().is_unknown(&sure, Some(&[3.0, 0.0])));
        assert!(rule().is_unknown(&sure, Some(&[-3.0, -3.0])));
        assert!(!rule().is_unknown(&[0.5, 0.5], None) && !rule().is_unknown(&[0.5, 0.5], Some(&[1.0])));
    }

    #[test]
    fn class_means_are_stored_and_checked() {
        let (name, bytes) = rule().entry().unwrap().unwrap();
        assert_eq!(name, "engraft.class_means.safetensors");
        let bare = UnknownRule { class_means: None, ..rule() };
        assert_eq!(bare.entry().unwrap(), None);
        assert_eq!(bare.clone().with_class_means(bytes).unwrap(), rule());
        let error = bare.clone().with_class_means(b"{}".to_vec()).unwrap_err();
        assert!(
            error.to_string().contains("engraft.class_means.safetensors") && error.kind() == ErrorKind::InvalidData
        );
        let mean = Tensor::new([1], vec![1.0]).unwrap();
        let part = safetensors::to_bytes(&[("mean", &mean)], FloatType::F32).unwrap();
        assert!(
            bare.with_class_means(part).unwrap_err().to_string().contains("expected an array `scale`, received none")
        );
    }
}
