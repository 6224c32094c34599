//! `engraft predict`: classifies photos.

use std::path::{Path, PathBuf};

use engraft::data::decode;
use engraft::recipe::{self, Classifier};
use engraft::runtime::Runtime;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::options::Count;
use crate::output::{self, line, note};

const EXAMPLES: &str = "\
Examples:
  engraft predict model.keras photo.jpg
  engraft predict model.keras photos/*.jpg --json > predictions.jsonl";

/// Classify photos: print the most likely classes of each photo with their probabilities
///
/// A model that gives a photo several labels (trained with --labels) prints all labels whose probability reaches their threshold.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Model file to read: `.keras`, or an `.h5` that holds layers and weights, written by engraft or Keras
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Photo files to read: JPEG, PNG, GIF, BMP or WebP
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// Number of classes to print per photo, the most likely first; --json always prints all, and a model with several labels a
    /// photo prints those that reach their thresholds
    #[arg(long, value_name = "K", default_value = "3", help_heading = "Output")]
    top: Count,
    /// Print one JSON object per photo, one per line, instead of text, for scripts
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Classifies each photo. A photo that can't be read doesn't stop the others, but the command fails at the end.
pub(crate) fn run(args: &Args, runtime: &Runtime) -> Result<(), Failure> {
    let classifier = Classifier::load(&args.model)?.runtime(runtime);
    warn(&classifier);
    let mut bad = 0;
    for image in &args.images {
        match decode(image) {
            Ok(photo) => {
                let recipe::Answer { probabilities, is_unknown } = classifier.answer(&photo)?;
                let answer = Answer {
                    image,
                    classes: classifier.classes(),
                    probabilities: &probabilities,
                    unknown: is_unknown,
                    labels: classifier.is_multi_label().then(|| classifier.labels(&probabilities)),
                };
                match args.json {
                    true => line(answer.to_json())?,
                    false => line(answer.to_text(args.top.0))?,
                }
            }
            Err(error) => {
                bad += 1;
                note(format_args!("error: {error}"));
            }
        }
    }
    match (bad, args.images.len()) {
        (0, _) => Ok(()),
        (_, 1) => Err(Failure::Reported),
        (bad, all) => {
            note(format_args!("{} of {} could not be read", bad, output::count(all, "image")));
            Err(Failure::Reported)
        }
    }
}

/// Prints the warnings from loading the model.
pub(crate) fn warn(classifier: &Classifier) {
    classifier.warnings().iter().for_each(|warning| note(format_args!("warning: {warning}")));
}

/// What the model says of a photo.
struct Answer<'a> {
    image: &'a Path,
    classes: &'a [String],
    probabilities: &'a [f32],
    /// Whether the model's rule says so.
    unknown: bool,
    /// The labels of the photo, the most probable first; `None` where a photo has one class.
    labels: Option<Vec<usize>>,
}

impl Answer<'_> {
    fn to_json(&self) -> Value {
        let number = |probability: f32| Value::from(f64::from(probability));
        let best = ranked(self.probabilities).into_iter().next().unwrap_or(0);
        let all = self.classes.iter().zip(self.probabilities).map(|(class, p)| (class.clone(), number(*p)));
        if let Some(labels) = &self.labels {
            let names: Vec<&String> = labels.iter().map(|&label| &self.classes[label]).collect();
            let probabilities = all.collect::<Map<_, _>>();
            return json!({"image": self.image.to_string_lossy(), "labels": names, "probabilities": probabilities});
        }
        let mut json = json!({
            "image": self.image.to_string_lossy(),
            "class": self.classes[best],
            "probability": number(self.probabilities[best]),
            "probabilities": all.collect::<Map<_, _>>(),
        });
        if self.unknown {
            json["unknown"] = true.into();
        }
        json
    }

    fn to_text(&self, top: usize) -> String {
        let mut text = self.image.display().to_string();
        if self.unknown {
            text.push_str("\n  unknown; of the known classes:");
        }
        let shown = match &self.labels {
            Some(labels) if labels.is_empty() => {
                text.push_str("\n  no label");
                Vec::new()
            }
            Some(labels) => labels.clone(),
            None => ranked(self.probabilities).into_iter().take(top).collect(),
        };
        for class in shown {
            text.push_str(&format!("\n  {:5.1} %  {}", 100.0 * self.probabilities[class], self.classes[class]));
        }
        text
    }
}

/// Class indices in descending order of probability; equal probabilities stay in class order.
fn ranked(probabilities: &[f32]) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..probabilities.len()).collect();
    classes.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> Vec<String> {
        ["cat", "ant", "bee"].map(str::to_owned).to_vec()
    }

    fn answer<'a>(classes: &'a [String], probabilities: &'a [f32], unknown: bool) -> Answer<'a> {
        Answer { image: Path::new("a b.jpg"), classes, probabilities, unknown, labels: None }
    }

    #[test]
    fn json_keeps_the_order_of_classes() {
        let (classes, probabilities) = (classes(), [0.25, 0.5, 0.25]);
        let expected =
            r#"{"image":"a b.jpg","class":"ant","probability":0.5,"probabilities":{"cat":0.25,"ant":0.5,"bee":0.25}}"#;
        assert_eq!(answer(&classes, &probabilities, false).to_json().to_string(), expected);
        let unknown = answer(&classes, &probabilities, true).to_json().to_string();
        assert_eq!(unknown, format!("{},\"unknown\":true}}", expected.strip_suffix('}').unwrap()));
    }

    #[test]
    fn labels_are_all_that_a_photo_has() {
        let (classes, probabilities) = (classes(), [0.25, 0.5, 0.0]);
        let labels =
            |labels: &[usize]| Answer { labels: Some(labels.to_vec()), ..answer(&classes, &probabilities, false) };
        let expected = r#"{"image":"a b.jpg","labels":["ant","cat"],"probabilities":{"cat":0.25,"ant":0.5,"bee":0.0}}"#;
        assert_eq!(labels(&[1, 0]).to_json().to_string(), expected);
        assert_eq!(labels(&[1, 0]).to_text(1), "a b.jpg\n   50.0 %  ant\n   25.0 %  cat");
        assert_eq!(labels(&[]).to_text(3), "a b.jpg\n  no label");
    }

    #[test]
    fn text_shows_the_likeliest_first() {
        let (classes, probabilities) = (classes(), [0.007, 0.9921, 0.0009]);
        let text = answer(&classes, &probabilities, false).to_text(2);
        assert_eq!(text, "a b.jpg\n   99.2 %  ant\n    0.7 %  cat");
        let text = answer(&classes, &probabilities, true).to_text(1);
        assert_eq!(text, "a b.jpg\n  unknown; of the known classes:\n   99.2 %  ant");
    }
}
