//! The forms in which answers are written: text, JSON lines, CSV.

use std::path::Path;

use clap::ValueEnum;
use engraft::Error;
use engraft::recipe::{Answer, Classifier};
use serde_json::{Map, Value, json};

use super::table::{self, Cell};
use crate::classify::ranked;
use crate::csv;

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object per photo and line.
    Json,
    /// A header and a row per photo (RFC 4180).
    Csv,
}

/// Writes answers in one form.
pub(super) struct Rows<'a> {
    pub(super) classifier: &'a Classifier,
    pub(super) format: Format,
    /// The number of classes in text.
    pub(super) top: usize,
}

impl Rows<'_> {
    /// The line before all rows, if the form has one.
    pub(super) fn header(&self) -> Option<String> {
        let columns = table::columns(self.classifier);
        (self.format == Format::Csv).then(|| csv::record(columns.iter().map(|column| &*column.name)))
    }

    /// The row of a photo; `None` for the error of a photo in text, which goes to standard error alone.
    pub(super) fn row(&self, photo: &Path, answer: Result<&Answer, &Error>) -> Option<String> {
        match (self.format, answer) {
            (Format::Text, Ok(answer)) => Some(self.text(photo, answer)),
            (Format::Text, Err(_)) => None,
            (Format::Json, Ok(answer)) => Some(self.json(photo, answer).to_string()),
            (Format::Json, Err(error)) => {
                Some(json!({"image": photo.to_string_lossy(), "error": error.to_string()}).to_string())
            }
            (Format::Csv, answer) => Some(csv_row(table::cells(self.classifier, photo, answer))),
        }
    }

    /// Class indices in descending order of probability; equal probabilities stay in class order.
    fn ranked(&self, answer: &Answer) -> Vec<usize> {
        ranked(&answer.probabilities)
    }

    fn class(&self, class: usize) -> &str {
        &self.classifier.classes()[class]
    }

    fn json(&self, photo: &Path, answer: &Answer) -> Value {
        let number = |probability: f32| Value::from(f64::from(probability));
        let classes = self.classifier.classes().iter().zip(&answer.probabilities);
        let all: Map<_, _> = classes.map(|(class, p)| (class.clone(), number(*p))).collect();
        if self.classifier.is_multi_label() {
            let labels = self.classifier.labels(&answer.probabilities);
            let names: Vec<&str> = labels.into_iter().map(|label| self.class(label)).collect();
            let mut json = json!({"image": photo.to_string_lossy(), "labels": names, "probabilities": all});
            self.mark_outputs(&mut json);
            return json;
        }
        let best = self.ranked(answer).first().copied().unwrap_or(0);
        let mut json = json!({
            "image": photo.to_string_lossy(),
            "class": self.class(best),
            "probability": number(answer.probabilities[best]),
            "probabilities": all,
        });
        if answer.is_unknown {
            json["unknown"] = true.into();
        }
        self.mark_outputs(&mut json);
        json
    }

    /// Says what the numbers are, if they are no probabilities.
    fn mark_outputs(&self, json: &mut Value) {
        if !self.classifier.gives_probabilities() {
            json["outputs"] = self.classifier.outputs().name().into();
        }
    }

    fn text(&self, photo: &Path, answer: &Answer) -> String {
        let mut text = photo.display().to_string();
        if answer.is_unknown {
            text.push_str("\n  unknown; of the known classes:");
        }
        let shown = match self.classifier.is_multi_label() {
            true => self.classifier.labels(&answer.probabilities),
            false => self.ranked(answer).into_iter().take(self.top).collect(),
        };
        if shown.is_empty() {
            text.push_str("\n  no label");
        }
        for class in shown {
            let (output, class) = (answer.probabilities[class], self.class(class));
            text.push_str(&match self.classifier.gives_probabilities() {
                true => format!("\n  {:5.1} %  {class}", 100.0 * output),
                false => format!("\n  {output:9.4}  {class}"),
            });
        }
        text
    }
}

fn csv_row(cells: Vec<Cell>) -> String {
    let field = |cell| match cell {
        Cell::Text(text) => text,
        Cell::Number(number) => csv::number(number),
        Cell::Flag(flag) => flag.to_string(),
        Cell::Empty => String::new(),
    };
    let fields: Vec<String> = cells.into_iter().map(field).collect();
    let (photo, answer) = fields.split_first().map_or(("", &[][..]), |(photo, answer)| (photo.as_str(), answer));
    csv::photo_record(photo, answer.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use engraft::prelude::*;
    use engraft::recipe::Metadata;

    use super::*;

    fn classifier(activation: engraft::ActivationFn) -> Classifier {
        let layers = Sequential::new().add(Input::new([2, 2, 3])).add(Flatten::new());
        let model = layers.add(Dense::new(3).activation(activation)).build().unwrap();
        Classifier::new(model, Some(Metadata::new(["cat", "ant", "bee"].map(str::to_owned).to_vec()))).unwrap()
    }

    fn row(classifier: &Classifier, format: Format, top: usize, answer: Result<&Answer, &Error>) -> String {
        Rows { classifier, format, top }.row(Path::new("a, b.jpg"), answer).unwrap()
    }

    fn answer(probabilities: [f32; 3], is_unknown: bool) -> Answer {
        Answer { probabilities: probabilities.to_vec(), is_unknown }
    }

    #[test]
    fn json_keeps_the_order_of_classes() {
        let classifier = classifier(Softmax);
        let json = |is_unknown| row(&classifier, Format::Json, 1, Ok(&answer([0.25, 0.5, 0.25], is_unknown)));
        let expected =
            r#"{"image":"a, b.jpg","class":"ant","probability":0.5,"probabilities":{"cat":0.25,"ant":0.5,"bee":0.25}}"#;
        assert_eq!(json(false), expected);
        assert_eq!(json(true), format!("{},\"unknown\":true}}", expected.strip_suffix('}').unwrap()));
        let error = Error::because("a, b.jpg", "damaged");
        assert_eq!(
            row(&classifier, Format::Json, 1, Err(&error)),
            r#"{"image":"a, b.jpg","error":"a, b.jpg: damaged"}"#
        );
    }

    #[test]
    fn text_shows_the_likeliest_first() {
        let classifier = classifier(Softmax);
        let text =
            |is_unknown, top| row(&classifier, Format::Text, top, Ok(&answer([0.007, 0.9921, 0.0009], is_unknown)));
        assert_eq!(text(false, 2), "a, b.jpg\n   99.2 %  ant\n    0.7 %  cat");
        assert_eq!(text(true, 1), "a, b.jpg\n  unknown; of the known classes:\n   99.2 %  ant");
        let error = Error::because("a, b.jpg", "damaged");
        assert_eq!(
            Rows { classifier: &classifier, format: Format::Text, top: 1 }.row(Path::new("x"), Err(&error)),
            None
        );
    }

    #[test]
    fn labels_are_all_that_a_photo_has() {
        let classifier = classifier(Sigmoid);
        let (two, none) = (answer([0.5, 0.75, 0.0], false), answer([0.25, 0.0, 0.0], false));
        let expected =
            r#"{"image":"a, b.jpg","labels":["ant","cat"],"probabilities":{"cat":0.5,"ant":0.75,"bee":0.0}}"#;
        assert_eq!(row(&classifier, Format::Json, 1, Ok(&two)), expected);
        assert_eq!(row(&classifier, Format::Text, 1, Ok(&two)), "a, b.jpg\n   75.0 %  ant\n   50.0 %  cat");
        assert_eq!(row(&classifier, Format::Text, 1, Ok(&none)), "a, b.jpg\n  no label");
        assert_eq!(row(&classifier, Format::Csv, 1, Ok(&two)), "\"a, b.jpg\",ant;cat,,0.5,0.75,0.0");
    }

    #[test]
    fn csv_has_a_column_for_each_class() {
        let classifier = classifier(Softmax);
        let rows = Rows { classifier: &classifier, format: Format::Csv, top: 1 };
        assert_eq!(rows.header().unwrap(), "image,class,probability,unknown,error,cat,ant,bee");
        let csv = row(&classifier, Format::Csv, 1, Ok(&answer([0.25, 0.5, 0.25], true)));
        assert_eq!(csv, "\"a, b.jpg\",ant,0.5,true,,0.25,0.5,0.25");
        let error = Error::because("x", "says \"no\"");
        assert_eq!(row(&classifier, Format::Csv, 1, Err(&error)), "\"a, b.jpg\",,,,\"x: says \"\"no\"\"\",,,");
        assert_eq!(Rows { format: Format::Json, ..rows }.header(), None);
    }
}
