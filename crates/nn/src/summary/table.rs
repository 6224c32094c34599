//! The table of a summary, in box-drawing characters. Keras prints with Python's `rich`; the layout is the same.

use std::fmt;

/// Alignment of text in its column.
#[derive(Clone, Copy)]
pub(super) enum Align {
    Left,
    Centre,
    Right,
}

/// A column: its title, the position of its right edge as a share of the line, and the alignment of its text.
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) end: f64,
    pub(super) align: Align,
}

/// Columns and rows of text. `Display` ends every line with a line break.
pub(super) struct Table {
    columns: Vec<Column>,
    line_length: usize,
    rows: Vec<Vec<String>>,
}

/// Longest line in characters: a caller's huge length must not allocate gigabytes of blanks.
const MAX_LINE_LENGTH: usize = 1000;

impl Table {
    /// A table without rows. A line too short for one character per column is printed longer.
    pub(super) fn new(columns: Vec<Column>, line_length: usize) -> Self {
        Self { columns, line_length: line_length.min(MAX_LINE_LENGTH), rows: Vec::new() }
    }

    /// Adds a row with one text per column.
    pub(super) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Width of each column's text in characters.
    fn text_widths(&self) -> Vec<usize> {
        let mut length = self.line_length;
        loop {
            let widths: Option<Vec<usize>> = (0..self.columns.len()).map(|i| self.text_width(i, length)).collect();
            match widths {
                Some(widths) => return widths,
                None => length += 1,
            }
        }
    }

    /// Width of the text in column `index` of a line of `length` characters; `None` if no character fits.
    ///
    /// A column's share of the line includes 3 characters of separators. The line has 1 more separator character, which `rich`
    /// takes from the second column from the right.
    fn text_width(&self, index: usize, length: usize) -> Option<usize> {
        let edge = |column: &Column| (column.end * length as f64) as usize;
        let start = index.checked_sub(1).map_or(0, |before| edge(&self.columns[before]));
        let separator = if index + 2 == self.columns.len() { 4 } else { 3 };
        (edge(&self.columns[index]) - start).checked_sub(separator).filter(|&width| width > 0)
    }

    /// The lines of each cell of a row.
    fn wrap_row<'a>(&self, cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> Vec<Vec<String>> {
        let aligns = self.columns.iter().map(|column| column.align);
        cells.zip(aligns).zip(widths).map(|((cell, align), &width)| wrap(cell, width, align)).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.text_widths();
        rule(f, &widths, ["┏━", "━┳━", "━┓"], '━')?;
        let mut header = self.wrap_row(self.columns.iter().map(|column| column.title), &widths);
        let height = header.iter().map(Vec::len).max().unwrap_or(0);
        // Titles are aligned to the bottom of their row, other cells to the top.
        for (cell, &width) in header.iter_mut().zip(&widths) {
            cell.splice(0..0, vec![" ".repeat(width); height - cell.len()]);
        }
        print_row(f, &header, &widths, '┃')?;
        for (index, row) in self.rows.iter().enumerate() {
            match index {
                0 => rule(f, &widths, ["┡━", "━╇━", "━┩"], '━')?,
                _ => rule(f, &widths, ["├─", "─┼─", "─┤"], '─')?,
            }
            print_row(f, &self.wrap_row(row.iter().map(String::as_str), &widths), &widths, '│')?;
        }
        rule(f, &widths, ["└─", "─┴─", "─┘"], '─')
    }
}

fn rule(f: &mut fmt::Formatter<'_>, widths: &[usize], [left, cross, right]: [&str; 3], line: char) -> fmt::Result {
    let pieces: Vec<String> = widths.iter().map(|&width| String::from(line).repeat(width)).collect();
    writeln!(f, "{left}{}{right}", pieces.join(cross))
}

fn print_row(f: &mut fmt::Formatter<'_>, cells: &[Vec<String>], widths: &[usize], bar: char) -> fmt::Result {
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    for line in 0..height {
        for (cell, &width) in cells.iter().zip(widths) {
            let text = cell.get(line).map_or("", String::as_str);
            write!(f, "{bar} {text:width$} ")?;
        }
        writeln!(f, "{bar}")?;
    }
    Ok(())
}

/// Breaks text between words into lines padded to `width` characters; a longer word is cut and ends in `…`.
fn wrap(text: &str, width: usize, align: Align) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words(text) {
        match lines.last_mut() {
            Some(line) if length(line) + length(word.trim_end()) <= width => line.push_str(word),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.iter().map(|line| fit(line.trim_end(), width, align)).collect()
}

/// Splits text into words, each with the blanks after it; the first word keeps its indentation.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let start = rest.len() - rest.trim_start().len();
        let end = rest[start..].find(char::is_whitespace).map_or(rest.len(), |end| start + end);
        let next = rest[end..].find(|c: char| !c.is_whitespace()).map_or(rest.len(), |next| end + next);
        let (word, more) = rest.split_at(next);
        words.push(word);
        rest = more;
    }
    words
}

fn fit(line: &str, width: usize, align: Align) -> String {
    let line = match length(line) <= width {
        true => line.to_owned(),
        false => line.chars().take(width - 1).chain(['…']).collect(),
    };
    match align {
        Align::Left => format!("{line:<width$}"),
        Align::Centre => format!("{line:^width$}"),
        Align::Right => format!("{line:>width$}"),
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_breaks_between_words_and_long_words_are_cut() {
        let wrapped = |text, width| wrap(text, width, Align::Left);
        assert_eq!(wrapped("left (Conv2D)", 13), ["left (Conv2D)"]);
        assert_eq!(wrapped("left (Conv2D)", 12), ["left        ", "(Conv2D)    "]);
        assert_eq!(wrapped("   └ inner_dense (Dense)", 11), ["   └       ", "inner_dense", "(Dense)    "]);
        assert_eq!(wrapped("134,221,824", 10), ["134,221,8…"]);
        assert_eq!(wrap("Y", 4, Align::Centre), [" Y  "]);
        assert_eq!(wrap("7", 3, Align::Right), ["  7"]);
    }

    #[test]
    fn a_line_has_bounds() {
        let table = |length| {
            let column = |end| Column { title: "a", end, align: Align::Left };
            Table::new(vec![column(0.5), column(1.0)], length).to_string()
        };
        // The shortest line has at least one character of text per column. The longest has `MAX_LINE_LENGTH` characters.
        assert_eq!(table(0).lines().next(), Some("┏━━━┳━━━━┓"));
        let longest = table(usize::MAX);
        assert_eq!(longest.lines().next().map(length), Some(MAX_LINE_LENGTH));
    }
}
