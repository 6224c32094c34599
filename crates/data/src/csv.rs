//! [`Rows`]: the rows of a CSV file (RFC 4180), each within buffers of a fixed size.
//!
//! The only user of `csv-core`, which parses into the caller's buffers: a quote that a hostile file never closes can't fill the
//! memory.

use std::io::{self, BufRead};
use std::str::Utf8Error;

use csv_core::{ReadRecordResult, Reader};

/// A row has fewer bytes than this, without quotes and commas: the longest path of any system and a label fit in.
pub(crate) const MAX_ROW: usize = 1 << 16;

/// The largest number of columns of a row that is read; no row needs as many.
const MAX_COLUMNS: usize = 64;

/// Reads rows one by one. Blank lines and a byte order mark are passed over.
pub(crate) struct Rows<R> {
    input: R,
    parser: Reader,
    text: Vec<u8>,
    ends: [usize; MAX_COLUMNS],
    /// The line of the next byte, from 1.
    line: u64,
}

/// A row: its first line, counted from 1, and its fields without quotes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    pub(crate) line: u64,
    pub(crate) fields: Vec<&'a str>,
}

/// Why a row can't be read.
#[derive(Debug)]
pub(crate) enum RowError {
    Io(io::Error),
    /// [`MAX_ROW`] bytes or more.
    TooLong,
    /// More than [`MAX_COLUMNS`] columns.
    TooManyColumns,
    Utf8(Utf8Error),
}

impl<R: BufRead> Rows<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, parser: Reader::new(), text: vec![0; MAX_ROW], ends: [0; MAX_COLUMNS], line: 1 }
    }

    /// What is left of the file after the last row.
    pub(crate) fn into_inner(self) -> R {
        self.input
    }

    /// The next row, or `None` at the end of the file. An error comes with the line on which the row starts.
    pub(crate) fn next(&mut self) -> Result<Option<Row<'_>>, (u64, RowError)> {
        self.skip_line_ends().map_err(|error| (self.line, RowError::Io(error)))?;
        let line = self.line;
        let columns = self.read().map_err(|error| (line, error))?;
        let starts = [0].into_iter().chain(self.ends);
        let fields = starts.zip(self.ends).take(columns).map(|(start, end)| str::from_utf8(&self.text[start..end]));
        let fields: Vec<&str> = fields.collect::<Result<_, _>>().map_err(|error| (line, RowError::Utf8(error)))?;
        Ok((columns > 0).then_some(Row { line, fields }))
    }

    /// Parses a row into the buffers, and returns its number of columns; 0 at the end of the file.
    fn read(&mut self) -> Result<usize, RowError> {
        let (mut written, mut columns) = (0, 0);
        loop {
            let bytes = self.input.fill_buf().map_err(RowError::Io)?;
            let (result, used, text, ends) =
                self.parser.read_record(bytes, &mut self.text[written..], &mut self.ends[columns..]);
            self.line += line_ends(&bytes[..used]);
            self.input.consume(used);
            (written, columns) = (written + text, columns + ends);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => return Err(RowError::TooLong),
                ReadRecordResult::OutputEndsFull => return Err(RowError::TooManyColumns),
                ReadRecordResult::Record | ReadRecordResult::End => return Ok(columns),
            }
        }
    }

    /// Passes over the end of the row before and over blank lines, so that the next row starts on [`line`](Self::line).
    fn skip_line_ends(&mut self) -> io::Result<()> {
        loop {
            let bytes = self.input.fill_buf()?;
            let length = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if length == 0 {
                return Ok(());
            }
            self.line += line_ends(&bytes[..length]);
            self.input.consume(length);
        }
    }
}

fn line_ends(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    /// The line and the fields of a row.
    type Owned = (u64, Vec<String>);

    /// The rows of `text`, read a few bytes at a time.
    fn rows(text: &[u8]) -> Result<Vec<Owned>, (u64, RowError)> {
        let mut rows = Rows::new(BufReader::with_capacity(5, text));
        let mut found = Vec::new();
        while let Some(Row { line, fields }) = rows.next()? {
            found.push((line, fields.into_iter().map(str::to_owned).collect()));
        }
        Ok(found)
    }

    #[test]
    fn quotes_line_ends_and_blank_lines_are_those_of_rfc_4180() {
        let text = b"\xEF\xBB\xBFa,b\r\n\r\n\"c,\"\"d\"\"\ne\",\n\n\nf,\xC3\xA9,\"\"";
        let expected: [(u64, &[&str]); 3] = [(1, &["a", "b"]), (3, &["c,\"d\"\ne", ""]), (7, &["f", "\u{e9}", ""])];
        let expected = expected.map(|(line, fields)| (line, fields.iter().map(|&field| field.to_owned()).collect()));
        assert_eq!(rows(text).unwrap(), expected);
        assert!(rows(b"").unwrap().is_empty() && rows(b"\n\r\n").unwrap().is_empty());
    }

    #[test]
    fn a_row_that_exceeds_the_buffers_is_an_error_with_its_line() {
        let of = |bytes: usize| [&b"a,b\n"[..], &vec![b'x'; bytes - 1], b",y\n"].concat();
        assert_eq!(rows(&of(MAX_ROW - 1)).unwrap().len(), 2);
        assert!(matches!(rows(&of(MAX_ROW)), Err((2, RowError::TooLong))));
        // The quote is never closed, and the lines after it belong to the field.
        let unclosed = [&b"a,b\n\n\"c,d\n"[..], &b"e,f\n".repeat(MAX_ROW)].concat();
        assert!(matches!(rows(&unclosed), Err((3, RowError::TooLong))));
        assert!(matches!(rows(&b",".repeat(100)), Err((1, RowError::TooManyColumns))));
    }

    #[test]
    fn other_encodings_are_an_error() {
        assert!(matches!(rows(b"a,b\nc,\xE9\n"), Err((2, RowError::Utf8(_)))));
    }
}
