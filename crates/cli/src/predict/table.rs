//! Answers as a table: the columns of CSV and Parquet, and the cells of a photo.

use std::collections::HashSet;
use std::path::Path;

use engraft::Error;
use engraft::recipe::{Answer, Classifier};

use crate::classify::ranked;

/// A column of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// What the cells of a column hold. All but the first column may have empty cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Text of few distinct values.
    Category,
    Number,
    Flag,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(String),
    Number(f32),
    Flag(bool),
    Empty,
}

/// The columns of the answers of a model: the answer, then the probability of each class.
///
/// A class that is called like a column of the answer, such as `unknown`, has the column `class_unknown`: readers of tables rename
/// the second of two equal names, or refuse them, and many compare names without case.
pub(super) fn columns(classifier: &Classifier) -> Vec<Column> {
    let answer: &[(&str, Kind)] = match classifier.is_multi_label() {
        true => &[("image", Kind::Text), ("labels", Kind::Category), ("error", Kind::Text)],
        false => &[
            ("image", Kind::Text),
            ("class", Kind::Category),
            ("probability", Kind::Number),
            ("unknown", Kind::Flag),
            ("error", Kind::Text),
        ],
    };
    let mut columns: Vec<Column> = answer.iter().map(|&(name, kind)| Column { name: name.to_owned(), kind }).collect();
    let mut used: HashSet<String> = columns.iter().map(|column| column.name.to_lowercase()).collect();
    for class in classifier.classes() {
        let mut name = class.clone();
        while !used.insert(name.to_lowercase()) {
            name = format!("class_{name}");
        }
        columns.push(Column { name, kind: Kind::Number });
    }
    columns
}

/// The row of a photo: a cell for each of the [`columns`].
pub(super) fn cells(classifier: &Classifier, photo: &Path, answer: Result<&Answer, &Error>) -> Vec<Cell> {
    let class = |class: usize| classifier.classes()[class].as_str();
    let mut cells = vec![Cell::Text(photo.to_string_lossy().into_owned())];
    match answer {
        Ok(answer) if classifier.is_multi_label() => {
            let labels = classifier.labels(&answer.probabilities);
            cells.push(Cell::Text(labels.into_iter().map(class).collect::<Vec<_>>().join(";")));
            cells.push(Cell::Empty);
        }
        Ok(answer) => {
            let best = ranked(&answer.probabilities).first().copied().unwrap_or(0);
            cells.push(Cell::Text(class(best).to_owned()));
            cells.push(Cell::Number(answer.probabilities[best]));
            cells.push(Cell::Flag(answer.is_unknown));
            cells.push(Cell::Empty);
        }
        Err(error) => {
            cells.extend(vec![Cell::Empty; if classifier.is_multi_label() { 1 } else { 3 }]);
            cells.push(Cell::Text(error.to_string()));
        }
    }
    match answer {
        Ok(answer) => cells.extend(answer.probabilities.iter().copied().map(Cell::Number)),
        Err(_) => cells.extend(vec![Cell::Empty; classifier.classes().len()]),
    }
    cells
}

#[cfg(test)]
mod tests {
    use engraft::prelude::*;
    use engraft::recipe::Metadata;

    use super::*;

    #[test]
    fn no_two_columns_have_one_name() {
        let layers = Sequential::new().add(Input::new([2, 2, 3])).add(Flatten::new());
        let model = layers.add(Dense::new(3).activation(Softmax)).build().unwrap();
        let metadata = Metadata::new(["Error", "ant", "unknown"].map(str::to_owned).to_vec());
        let classifier = Classifier::new(model, Some(metadata)).unwrap();
        let names: Vec<String> = columns(&classifier).into_iter().map(|column| column.name).collect();
        let expected = ["image", "class", "probability", "unknown", "error", "class_Error", "ant", "class_unknown"];
        assert_eq!(names, expected);
    }
}
