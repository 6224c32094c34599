//! Prints results to standard output and everything else to standard error. Control characters never reach the terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use engraft::Error;

use crate::failure::Failure;

/// Writes a line of the result to standard output.
///
/// # Errors
/// The line can't be written: [`Failure::ClosedPipe`] if the reader is gone.
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    write(&printable(&text.to_string()))
}

/// Writes a row of data to standard output. A file or a program gets it as it is, so that it can open the files that are named there.
///
/// # Errors
/// Those of [`line`].
pub(crate) fn row(text: &str) -> Result<(), Failure> {
    match io::stdout().is_terminal() {
        true => line(text),
        false => write(text),
    }
}

fn write(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{text}").map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
        _ => Failure::Failed(Error::from_io("standard output", error)),
    })
}

/// Writes a line to standard error.
pub(crate) fn note(text: impl Display) {
    // A failure to write to standard error can't be reported anywhere.
    let _ = writeln!(io::stderr().lock(), "{}", printable(&without_numbers(&text.to_string())));
}

/// Removes the numbers that the system gives its errors: ` (os error 13)` means nothing to a person.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |before, rest| before + rest.split_once(')').map_or("", |(_, after)| after))
}

/// Replaces control characters: names of files and classes must not send escape sequences to the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Formats a number with its noun: `1 photo`, `2 photos`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A line of a report: a title in a column of its own, then the text.
pub(crate) fn titled(title: &str, text: impl Display) -> String {
    format!("{title:9} {text}")
}

/// Formats a number with thousands separators: `14,722,947`.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

/// Formats a table, indented by two spaces. Each column is as wide as its widest cell; those of numbers are right-aligned.
pub(crate) fn table<const N: usize>(rows: &[[String; N]], is_number: [bool; N]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).zip(is_number).map(|((cell, width), is_number)| match is_number {
            true => format!("  {cell:>width$}"),
            false => format!("  {cell:width$}"),
        });
        cells.collect::<String>().trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [["network", "key", "photos", "size", "last use"], ["VGG16", "ab", "1,000", "5.0 MiB", "just now"]];
        let rows = rows.map(|row| row.map(str::to_owned));
        let expected = "  network  key  photos     size  last use\n  VGG16    ab    1,000  5.0 MiB  just now";
        assert_eq!(table(&rows, [false, false, true, true, false]), expected);
    }

    #[test]
    fn names_cannot_command_the_terminal() {
        assert_eq!(printable("cat\u{1b}[2J\r\nd\u{fc}g"), "cat\u{fffd}[2J\u{fffd}\nd\u{fc}g");
    }

    #[test]
    fn errors_of_the_system_have_no_numbers() {
        let text = "a: Permission denied (os error 13)\nb: File exists (os error 17); c";
        assert_eq!(without_numbers(text), "a: Permission denied\nb: File exists; c");
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!([count(0, "photo"), count(1, "photo"), count(2, "photo")], ["0 photos", "1 photo", "2 photos"]);
    }

    #[test]
    fn digits_stand_in_threes() {
        assert_eq!([0, 999, 1000, 14_722_947].map(thousands), ["0", "999", "1,000", "14,722,947"]);
    }
}
