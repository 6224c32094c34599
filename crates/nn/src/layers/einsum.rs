//! Einsum equations of two operands, and the steps that compute them: permutations, reshapes and one matrix product.

use std::collections::HashMap;

use engraft_ir::ValueId;

use super::rearranged::{multiplied, permuted, reshaped};
use crate::Shape;
use crate::lowering::Lowering;
use crate::{Error, ErrorKind, Result};

/// The label of an axis: a letter of the equation, or one of the axes that `...` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Label {
    Elided(usize),
    Letter(char),
}

/// An equation such as `abc,cd->abd` with a label for every axis.
#[derive(Clone, Debug)]
pub(super) struct Equation {
    pub(super) left: Vec<Label>,
    pub(super) right: Vec<Label>,
    pub(super) output: Vec<Label>,
}

impl Equation {
    /// Parses an equation for a left operand with `rank` axes, batch included.
    ///
    /// # Errors
    /// Anything but two operands, letters and `...`, or a letter twice in one of the three parts.
    pub(super) fn parse(equation: &str, rank: usize) -> Result<Self> {
        let expected = "two operands and a result, such as `abc,cd->abd` or `...c,cd->...d`";
        let wrong = || Error::new("equation", expected, format_args!("`{equation}`")).with_kind(ErrorKind::Unsupported);
        let compact: String = equation.split_whitespace().collect();
        let (operands, output) = compact.split_once("->").ok_or_else(wrong)?;
        let (left, right) = operands.split_once(',').ok_or_else(wrong)?;
        let letters = |part: &str| part.chars().filter(char::is_ascii_alphabetic).count();
        let elided = if left.contains("...") { rank.checked_sub(letters(left)).ok_or_else(wrong)? } else { 0 };
        let labels = |part: &str| labels(part, elided).ok_or_else(wrong);
        let equation = Self { left: labels(left)?, right: labels(right)?, output: labels(output)? };
        if equation.left.len() != rank {
            return Err(Error::new(
                "input",
                format_args!("the axes of `{left}`"),
                format_args!("{rank} axes, batch included"),
            ));
        }
        Ok(equation)
    }

    /// The sizes of all labels, from the shapes of both operands, batch included.
    ///
    /// # Errors
    /// Another number of axes than labels, or two sizes for one label.
    pub(super) fn sizes(&self, left: &[usize], right: &[usize]) -> Result<HashMap<Label, usize>> {
        let mut sizes = HashMap::new();
        for (labels, shape) in [(&self.left, left), (&self.right, right)] {
            let fits = labels.len() == shape.len()
                && labels.iter().zip(shape).all(|(&label, &size)| *sizes.entry(label).or_insert(size) == size);
            if !fits {
                return Err(Error::new(
                    "inputs",
                    "shapes that fit the equation",
                    format_args!("{left:?} and {right:?}"),
                ));
            }
        }
        Ok(sizes)
    }

    /// Sorts the labels by what happens to them. The batch is left out: it is the first label of the left operand and the result.
    ///
    /// # Errors
    /// Equations in which the batch isn't first, or an axis of one operand is summed alone.
    pub(super) fn roles(&self) -> Result<Roles> {
        let unsupported = |what| Error::because("equation", what).with_kind(ErrorKind::Unsupported);
        let batch = self.left.first().copied();
        if batch.is_none() || self.output.first().copied() != batch {
            return Err(unsupported("the batch must be the first axis of the first operand and of the result"));
        }
        let inner = |labels: &[Label]| labels.iter().copied().filter(|&label| Some(label) != batch).collect::<Vec<_>>();
        let (left, right, output) = (inner(&self.left), inner(&self.right), inner(&self.output));
        let summed_alone =
            |own: &[Label], other: &[Label]| own.iter().any(|label| !other.contains(label) && !output.contains(label));
        if summed_alone(&left, &right) || summed_alone(&right, &left) {
            return Err(unsupported("an axis of one operand that isn't in the result is not supported"));
        }
        if output.iter().any(|label| !left.contains(label) && !right.contains(label)) {
            return Err(unsupported("an axis of the result that no operand has"));
        }
        let chosen = |in_left: bool, in_right: bool, in_output: bool| {
            let order = if in_right { &right } else { &left };
            let fits = |label: &Label| {
                left.contains(label) == in_left
                    && right.contains(label) == in_right
                    && output.contains(label) == in_output
            };
            order.iter().copied().filter(fits).collect::<Vec<_>>()
        };
        Ok(Roles {
            shared: chosen(true, true, true),
            contracted: chosen(true, true, false),
            left: chosen(true, false, true),
            right: chosen(false, true, true),
            output,
        })
    }
}

/// The labels of a part of an equation; `None` for another character, or a label twice.
fn labels(part: &str, elided: usize) -> Option<Vec<Label>> {
    let mut labels = Vec::new();
    let mut rest = part;
    while let Some(letter) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            labels.extend((0..elided).map(Label::Elided));
            rest = after;
        } else {
            labels.push(letter.is_ascii_alphabetic().then_some(Label::Letter(letter))?);
            rest = &rest[1..];
        }
    }
    let distinct = labels.iter().enumerate().all(|(index, label)| !labels[..index].contains(label));
    distinct.then_some(labels)
}

/// The labels of an equation without the batch, by what happens to their axes.
#[derive(Clone, Debug)]
pub(super) struct Roles {
    /// In both operands and the result: one product for each index.
    pub(super) shared: Vec<Label>,
    /// In both operands, summed.
    pub(super) contracted: Vec<Label>,
    /// In the left operand and the result.
    pub(super) left: Vec<Label>,
    /// In the right operand and the result.
    pub(super) right: Vec<Label>,
    /// The result.
    pub(super) output: Vec<Label>,
}

/// The labels of a sample's axes, in the order of the axes.
pub(super) fn of_sample(labels: &[Label], batch: Option<&Label>) -> Vec<Label> {
    labels.iter().filter(|label| Some(*label) != batch).copied().collect()
}

/// Permutes a value with axes `from` to the order `order`, and merges each of the groups into one axis.
pub(super) fn arranged(to: &mut Lowering<'_>, x: ValueId, from: &[Label], groups: &[&[Label]]) -> ValueId {
    let axis = |label: &Label| from.iter().position(|other| other == label);
    let axes: Vec<usize> = groups.iter().flat_map(|group| group.iter().filter_map(axis)).collect();
    let sizes = to.shape(x).clone();
    let merged: Shape =
        groups.iter().map(|group| group.iter().filter_map(axis).map(|axis| sizes[axis]).product()).collect();
    let x = permuted(to, x, axes);
    reshaped(to, x, merged)
}

/// Splits the axes of a product into those of `labels`, and permutes them to the order of the result.
pub(super) fn result(
    to: &mut Lowering<'_>,
    y: ValueId,
    labels: &[Label],
    output: &[Label],
    sizes: &HashMap<Label, usize>,
) -> ValueId {
    let split: Shape = labels.iter().filter_map(|label| sizes.get(label)).copied().collect();
    let y = reshaped(to, y, split);
    let axes = output.iter().filter_map(|label| labels.iter().position(|other| other == label)).collect();
    permuted(to, y, axes)
}

/// Computes the equation of two values. `left` and `right` are the labels of their samples' axes.
pub(super) fn contract(
    to: &mut Lowering<'_>,
    values: [ValueId; 2],
    [left, right]: [&[Label]; 2],
    roles: &Roles,
    sizes: &HashMap<Label, usize>,
) -> ValueId {
    let x = arranged(to, values[0], left, &[&roles.shared, &roles.left, &roles.contracted]);
    let w = arranged(to, values[1], right, &[&roles.shared, &roles.contracted, &roles.right]);
    let y = multiplied(to, x, w, false);
    let labels = [roles.shared.as_slice(), &roles.left, &roles.right].concat();
    result(to, y, &labels, &roles.output, sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(labels: &[Label]) -> String {
        let letter = |label: &Label| match label {
            Label::Letter(letter) => *letter,
            Label::Elided(index) => char::from(b'0' + *index as u8),
        };
        labels.iter().map(letter).collect()
    }

    #[test]
    fn axes_are_sorted_by_their_role() {
        for (equation, rank, expected) in [
            ("abc,cd->abd", 3, ["", "c", "b", "d"]),
            ("abc,bd->adc", 3, ["", "b", "c", "d"]),
            ("abcd,cde->abe", 4, ["", "cd", "b", "e"]),
            ("...x,xy->...y", 4, ["", "x", "12", "y"]),
            ("bij, bjk -> bik", 3, ["", "j", "i", "k"]),
            ("bnd,ndh->bnh", 3, ["n", "d", "", "h"]),
        ] {
            let roles = Equation::parse(equation, rank).unwrap().roles().unwrap();
            let found = [&roles.shared, &roles.contracted, &roles.left, &roles.right].map(|labels| text(labels));
            assert_eq!(found, expected, "{equation}");
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (equation, rank, expected) in [
            ("abc", 3, "two operands"),
            ("aab,bc->ac", 3, "two operands"),
            ("ab.,bc->ac", 2, "two operands"),
            ("abc,cd->abd", 4, "the axes of `abc`"),
            ("abc,cd->bad", 3, "the batch must be the first axis"),
            ("abc,cd->ad", 3, "an axis of one operand"),
            ("ab,bc->acz", 2, "no operand has"),
            ("...abc,cd->...d", 2, "two operands"),
        ] {
            let error = Equation::parse(equation, rank).and_then(|equation| equation.roles()).unwrap_err().to_string();
            assert!(error.contains(expected), "{equation}: {error}");
        }
        let equation = Equation::parse("ab,bc->ac", 2).unwrap();
        assert!(equation.sizes(&[2, 3], &[4, 5]).is_err() && equation.sizes(&[2, 3], &[3]).is_err());
    }
}
