//! Where answers go, in the form that the options choose.

use std::path::Path;

use engraft::Error;
use engraft::recipe::{Answer, Interrupt};

use super::done::Done;
use super::lines::Lines;
use super::parquet::ParquetFile;
use super::rows::{Format, Rows};
use super::table;
use crate::destination::Destination;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::note;

/// The output of a run.
pub(super) enum Sink<'a> {
    /// Text, JSON lines or CSV. Ctrl-C stops the run after a whole row of a file.
    Lines(Rows<'a>, Lines, Option<Interrupt>),
    /// A Parquet file; Ctrl-C stops the run without it.
    Parquet(Rows<'a>, Box<ParquetFile>, Interrupt),
}

impl<'a> Sink<'a> {
    /// Opens the lines of `output`. With `done`, rows are added to those in the file.
    ///
    /// # Errors
    /// The file can't be written, or has other columns.
    pub(super) fn lines(rows: Rows<'a>, output: Option<&Destination>, done: Option<&Done>) -> Result<Self, Failure> {
        let lines = Lines::open(&rows, output, done)?;
        let can_go_on = output.is_some() && rows.format != Format::Text;
        let interrupt = can_go_on.then(|| interrupt::watch("Stopping after this batch", "leaving half a row"));
        Ok(Self::Lines(rows, lines, interrupt))
    }

    /// Starts a Parquet file.
    ///
    /// # Errors
    /// Its folder can't be written.
    pub(super) fn parquet(rows: Rows<'a>, output: &Destination) -> Result<Self, Failure> {
        let file = ParquetFile::create(output.path(), &table::columns(rows.classifier))?;
        let interrupt = interrupt::watch("Stopping; the Parquet file is not written", "leaving its temporary file");
        Ok(Self::Parquet(rows, Box::new(file), interrupt))
    }

    /// Adds a photo and its answer.
    ///
    /// # Errors
    /// The output can't be written, or Ctrl-C stopped the run.
    pub(super) fn add(&mut self, photo: &Path, answer: Result<&Answer, &Error>) -> Result<(), Failure> {
        match self {
            Self::Lines(_, _, Some(interrupt)) if interrupt.is_requested() => {
                note("Stopped; the same command with --skip-done and the output file goes on from there");
                Err(Failure::Interrupted)
            }
            Self::Lines(rows, lines, _) => rows.row(photo, answer).map_or(Ok(()), |row| lines.write(&row)),
            Self::Parquet(_, _, interrupt) if interrupt.is_requested() => {
                note("Stopped, nothing is saved; a run with --csv can be stopped and go on with --skip-done");
                Err(Failure::Interrupted)
            }
            Self::Parquet(rows, file, _) => Ok(file.add(table::cells(rows.classifier, photo, answer))?),
        }
    }

    /// Ends the output of a run that failed: lines stay, and the rows of a Parquet file are dropped.
    ///
    /// # Errors
    /// The output can't be written.
    pub(super) fn abandon(self) -> Result<(), Failure> {
        match self {
            Self::Lines(_, lines, _) => lines.finish(),
            Self::Parquet(..) => Ok(()),
        }
    }

    /// Completes the output.
    ///
    /// # Errors
    /// The output can't be written.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Lines(_, lines, _) => lines.finish(),
            Self::Parquet(_, file, _) => Ok(file.finish()?),
        }
    }
}
