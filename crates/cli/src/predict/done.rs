//! Reads which photos an earlier output has, so that they need not be classified again.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use engraft::{Error, ErrorKind, Result};
use serde_json::Value;

/// The photos with an answer in an earlier output, and where its last complete row ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    photos: HashSet<String>,
    /// The files that these paths lead to, seen from the present folder.
    files: HashSet<PathBuf>,
    /// The bytes up to the end of the last complete row. What follows was cut off when the program was stopped.
    pub(super) complete: u64,
    /// The header of a CSV file.
    pub(super) header: Option<String>,
}

impl Done {
    /// Whether a photo has an answer, under this path or another one to the same file.
    pub(super) fn has(&self, photo: &Path) -> bool {
        self.photos.contains(&*photo.to_string_lossy())
            || photo.canonicalize().is_ok_and(|file| self.files.contains(&file))
    }

    /// Reads JSON lines or CSV; a file that doesn't exist has no photos. Photos with an error aren't done.
    ///
    /// # Errors
    /// The file can't be read, or holds something else.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let failed = |error| Error::from_io(path.display(), error);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
        };
        let mut done = Self::default();
        let mut input = BufReader::new(file);
        if input.fill_buf().map_err(failed)?.starts_with(b"PAR1") {
            let received = format_args!("{}, a Parquet file", path.display());
            return Err(Error::new("--skip-done", "an output of --csv or --json", received)
                .hint("write with --csv, which can go on from any row; a Parquet file is written whole"));
        }
        let mut number = 0;
        loop {
            let mut row = Vec::new();
            // A quoted field may contain line ends: the row goes on as long as a quote is open.
            while input.read_until(b'\n', &mut row).map_err(failed)? > 0
                && row.iter().filter(|&&c| c == b'"').count() % 2 == 1
            {}
            if row.last() != Some(&b'\n') {
                return Ok(done);
            }
            number += 1;
            done.add(&String::from_utf8_lossy(&row), number).map_err(|error| error.within(path.display()))?;
            done.complete += row.len() as u64;
        }
    }

    fn add(&mut self, row: &str, number: usize) -> Result<()> {
        let row = row.trim_end_matches(['\n', '\r']);
        let unknown = || {
            let expected = "a row of `engraft predict --csv` or `--json`";
            let received = match row.contains(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
                true => "bytes that are no text".to_owned(),
                false => row.chars().take(60).collect(),
            };
            Error::new(format_args!("row {number}"), expected, received).with_kind(ErrorKind::InvalidData)
        };
        let is_table = ["image,class,probability,unknown,error,", "image,labels,error,"];
        if number == 1 && is_table.iter().any(|start| row.starts_with(start)) {
            self.header = Some(row.to_owned());
            return Ok(());
        }
        let (image, has_error) = match &self.header {
            Some(header) => {
                let (names, fields) = (fields(header), fields(row));
                let error = names.iter().position(|name| name == "error").and_then(|at| fields.get(at));
                (fields.first().cloned(), error.is_some_and(|error| !error.is_empty()))
            }
            None => {
                let json: Value = serde_json::from_str(row).map_err(|_| unknown())?;
                (json["image"].as_str().map(str::to_owned), !json["error"].is_null())
            }
        };
        let image = image.filter(|image| !image.is_empty()).ok_or_else(unknown)?;
        if !has_error {
            self.files.extend(Path::new(&image).canonicalize());
            self.photos.insert(image);
        }
        Ok(())
    }
}

/// The fields of a CSV record (RFC 4180).
fn fields(record: &str) -> Vec<String> {
    let (mut fields, mut field, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut characters = record.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    fields.push(field);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Vec<String>, u64)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        std::fs::write(&path, text).unwrap();
        let done = Done::read(&path)?;
        let mut photos: Vec<String> = done.photos.into_iter().collect();
        photos.sort();
        Ok((photos, done.complete))
    }

    #[test]
    fn photos_with_an_answer_are_done() {
        let csv =
            "image,class,probability,unknown,error,cat\n\"a, \"\"b\"\"\nc.jpg\",cat,1,false,,1\nd.jpg,,,,broken,\n";
        assert_eq!(read(csv).unwrap(), (vec!["a, \"b\"\nc.jpg".to_owned()], csv.len() as u64));
        // The last row was cut off.
        assert_eq!(read(&format!("{csv}e.jpg,ca")).unwrap().1, csv.len() as u64);
        let json = "{\"image\":\"a.jpg\",\"class\":\"cat\"}\n{\"image\":\"b.jpg\",\"error\":\"broken\"}\n";
        assert_eq!(read(json).unwrap().0, ["a.jpg"]);
        assert_eq!(read(&format!("{json}{{\"image\":\"c.j")).unwrap().1, json.len() as u64);
        assert_eq!(Done::read(Path::new("no such file")).unwrap(), Done::default());
    }

    #[test]
    fn another_file_is_refused() {
        let error = read("path,label\na.jpg,cat\n").unwrap_err().to_string();
        assert!(
            error.contains("row 1: expected a row of `engraft predict --csv` or `--json`, received path,label"),
            "{error}"
        );
        let error = read("PAR1\x15\x04").unwrap_err().to_string();
        assert!(
            error.contains("expected an output of --csv or --json, received ") && error.contains("--csv"),
            "{error}"
        );
    }
}
