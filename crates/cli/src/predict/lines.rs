//! Where lines of answers go: a file or standard output.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use engraft::Error;

use super::done::Done;
use super::rows::{Format, Rows};
use crate::destination::{Content, Destination};
use crate::failure::Failure;
use crate::output;

/// The output of text, JSON lines or CSV.
pub(super) enum Lines {
    File(BufWriter<File>, PathBuf),
    /// Standard output, with this function to print a line.
    StandardOutput(fn(&str) -> Result<(), Failure>),
}

impl Lines {
    /// Opens the output and writes the header. With `done`, rows are added to the file after its last complete row.
    ///
    /// # Errors
    /// The file can't be written, or has other columns.
    pub(super) fn open(
        rows: &Rows<'_>,
        destination: Option<&Destination>,
        done: Option<&Done>,
    ) -> Result<Self, Failure> {
        let header = rows.header();
        if let Some(done) = done.filter(|done| done.complete > 0 && header != done.header) {
            let received = done.header.as_deref().unwrap_or("JSON lines");
            let expected = header.as_deref().unwrap_or("JSON lines");
            return Err(Error::new("--skip-done", format_args!("a file with the columns {expected}"), received)
                .hint("use the options and the model of the first run, or another --output")
                .into());
        }
        let mut lines = match destination {
            None if rows.format == Format::Text => Self::StandardOutput(|text| output::line(text)),
            None => Self::StandardOutput(output::row),
            Some(destination) => {
                let path = destination.path();
                let file = match done {
                    Some(done) => OpenOptions::new()
                        .create(true)
                        .append(true)
                        .open(path)
                        .and_then(|file| file.set_len(done.complete).map(|()| file)),
                    None => File::create(path),
                };
                let file = file.map_err(|error| Error::from_io(path.display(), error))?;
                Self::File(BufWriter::new(file), path.to_owned())
            }
        };
        if let (Some(header), None) = (header, done.filter(|done| done.complete > 0)) {
            lines.write(&header)?;
        }
        Ok(lines)
    }

    /// Writes a line.
    ///
    /// # Errors
    /// The output can't be written.
    pub(super) fn write(&mut self, row: &str) -> Result<(), Failure> {
        match self {
            Self::StandardOutput(print) => print(row),
            // Each row is written at once, so that an interrupted run can go on from it.
            Self::File(file, path) => {
                let written = writeln!(file, "{row}").and_then(|()| file.flush());
                written.map_err(|error| {
                    let error = Error::from_io(path.display(), error);
                    let advice = match Content::answers(path) {
                        Some(_) => {
                            "make room there; the same command with --skip-done and this file goes on from there"
                        }
                        None => "make room there, then run the command again",
                    };
                    error.hint(advice).into()
                })
            }
        }
    }

    /// Waits until the file is on the disk.
    ///
    /// # Errors
    /// The output can't be written.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::StandardOutput(_) => Ok(()),
            Self::File(file, path) => {
                let file = file.into_inner().map_err(|error| Error::from_io(path.display(), error.into_error()))?;
                file.sync_all().map_err(|error| Error::from_io(path.display(), error).into())
            }
        }
    }
}
