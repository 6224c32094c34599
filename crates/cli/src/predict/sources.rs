//! The photos that `engraft predict` is given: files, folders, patterns, standard input.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use engraft::data::{ColorMode, MAX_FILE_BYTES, PhotoListing, SkippedFile};
use engraft::{Error, ErrorKind, Result};

use crate::classify::Decode;
use crate::file_kind::FileKind;
use crate::output::{count, note};
use crate::photos::note_left_out;

/// The name of standard input as a photo or a list of paths.
const STANDARD_INPUT: &str = "-";

/// The largest list of paths on standard input, in bytes: two million paths.
const MAX_LIST: u64 = 1 << 28;

/// A photo to classify.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    File(PathBuf),
    /// The bytes of a photo on standard input.
    StandardInput(Vec<u8>),
}

impl Source {
    /// The path, or `-` for standard input.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::StandardInput(_) => Path::new(STANDARD_INPUT),
        }
    }
}

impl Decode for Source {
    fn decode(&self, mode: ColorMode, image_size: [usize; 2]) -> Result<Vec<f32>> {
        match self {
            Self::File(path) => mode.load(path, image_size),
            Self::StandardInput(bytes) => mode.load_bytes(bytes, "standard input", image_size),
        }
    }
}

/// The photos that some arguments name, in their order, and the files in folders that were left out.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) photos: Vec<Source>,
    pub(super) skipped: Vec<SkippedFile>,
}

impl Sources {
    /// Finds the photos. A folder stands for the photos in it, and if `recursive` for those in its subfolders. `*`, `?` and `[…]`
    /// make a pattern, where the shell hasn't replaced them. `-` is a photo on `standard_input`, or paths, one a line.
    ///
    /// # Errors
    /// A folder or a pattern without photos, a folder that can't be read, `-` twice, or a list that is too long.
    pub(super) fn find(arguments: &[PathBuf], recursive: bool, standard_input: &mut dyn BufRead) -> Result<Self> {
        let mut sources = Self::default();
        let mut is_read = false;
        for argument in arguments {
            if argument == Path::new(STANDARD_INPUT) {
                if std::mem::replace(&mut is_read, true) {
                    return Err(Error::new("IMAGE", "`-` once, as standard input can be read once", "`-` twice"));
                }
                sources.add_standard_input(recursive, standard_input)?;
            } else {
                sources.add(argument, recursive)?;
            }
        }
        Ok(sources)
    }

    fn add(&mut self, argument: &Path, recursive: bool) -> Result<()> {
        if argument.is_dir() {
            return self.add_folder(argument, recursive);
        }
        let text = argument.to_string_lossy();
        if argument.exists() || !text.contains(['*', '?', '[']) {
            // A file that doesn't exist is an error of that photo alone.
            self.photos.push(Source::File(argument.to_owned()));
            return Ok(());
        }
        let failed = |error| Error::from_source(argument.display(), error);
        let mut found = 0;
        for path in glob::glob(&text).map_err(failed)?.flatten() {
            found += 1;
            self.add(&path, recursive)?;
        }
        match found {
            0 => {
                Err(Error::new(argument.display(), "a pattern that files match", "none").with_kind(ErrorKind::NotFound))
            }
            _ => Ok(()),
        }
    }

    fn add_folder(&mut self, folder: &Path, recursive: bool) -> Result<()> {
        let listing = PhotoListing::of(folder, recursive)?;
        if listing.photos.is_empty() {
            let received = match (listing.skipped.len(), listing.folders) {
                (0, 0) => "none".to_owned(),
                (0, folders) => format!("{folders} folders"),
                (skipped, _) => format!("{skipped} images that can't be read: {}", listing.skipped[0].reason),
            };
            let error =
                Error::new(folder.display(), "photos in this folder: JPEG, PNG, GIF, BMP, TIFF or WebP", received);
            let error = error.with_kind(ErrorKind::NotFound);
            return Err(if listing.folders > 0 {
                error.hint("add --recursive to look into its folders")
            } else {
                error
            });
        }
        if listing.folders > 0 {
            let folders = count(listing.folders, "subfolder");
            note(format_args!("note: {}: {folders} left out; --recursive looks into them", folder.display()));
        }
        self.photos.extend(listing.photos.into_iter().map(Source::File));
        self.skipped.extend(listing.skipped);
        note_left_out(folder, &listing.left_out);
        Ok(())
    }

    fn add_standard_input(&mut self, recursive: bool, input: &mut dyn BufRead) -> Result<()> {
        let failed = |error| Error::from_io("standard input", error);
        if FileKind::of_content(input.fill_buf().map_err(failed)?) == FileKind::Photo {
            let mut bytes = Vec::new();
            input.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
            self.photos.push(Source::StandardInput(bytes));
            return Ok(());
        }
        let mut list = Vec::new();
        input.take(MAX_LIST + 1).read_to_end(&mut list).map_err(failed)?;
        if list.len() as u64 > MAX_LIST {
            return Err(Error::new("standard input", format_args!("a list of at most {MAX_LIST} bytes"), "more"));
        }
        let text = String::from_utf8(list).map_err(|_| {
            Error::new("standard input", "a photo, or paths as UTF-8 text, one a line", "neither")
                .hint("name a file that isn't called in UTF-8 as an argument")
        })?;
        // `find -print0` ends paths with a NUL.
        let paths: Vec<&str> = if text.contains('\0') { text.split('\0').collect() } else { text.lines().collect() };
        let paths: Vec<&str> = paths.into_iter().filter(|path| !path.trim().is_empty()).collect();
        if paths.is_empty() {
            return Err(Error::new("standard input", "a photo, or paths, one a line", "nothing"));
        }
        for path in paths.into_iter().map(Path::new) {
            match path.is_dir() {
                true => self.add_folder(path, recursive)?,
                // A path in a list is no pattern. A file that doesn't exist is an error of that photo alone.
                false => self.photos.push(Source::File(path.to_owned())),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(arguments: &[&Path], recursive: bool, input: &[u8]) -> Result<Vec<String>> {
        let arguments: Vec<PathBuf> = arguments.iter().map(|path| path.to_path_buf()).collect();
        let found = Sources::find(&arguments, recursive, &mut &input[..])?;
        let name = |source: &Source| source.path().file_name().unwrap().to_str().unwrap().to_owned();
        Ok(found.photos.iter().map(name).collect())
    }

    #[test]
    fn folders_patterns_and_lists_stand_for_their_photos() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["b.jpg", "a.png", "notes.txt", "more/c.jpg"] {
            std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            std::fs::write(path(name), "").unwrap();
        }
        assert_eq!(find(&[folder.path()], false, b"").unwrap(), ["a.png", "b.jpg"]);
        assert_eq!(find(&[folder.path()], true, b"").unwrap(), ["a.png", "b.jpg", "c.jpg"]);
        assert_eq!(find(&[&path("*.jpg"), &path("a.png")], false, b"").unwrap(), ["b.jpg", "a.png"]);
        let list = format!("{}\r\n\n{}\n", path("a.png").display(), path("more").display());
        assert_eq!(find(&[Path::new("-")], false, list.as_bytes()).unwrap(), ["a.png", "c.jpg"]);
        let list = format!("{}\0{}\0", path("a.png").display(), path("b.jpg").display());
        assert_eq!(find(&[Path::new("-")], false, list.as_bytes()).unwrap(), ["a.png", "b.jpg"]);
        // A file that is named explicitly is tried, whatever it is called.
        assert_eq!(find(&[&path("notes.txt"), &path("absent.jpg")], false, b"").unwrap(), ["notes.txt", "absent.jpg"]);
    }

    #[test]
    fn standard_input_may_be_a_photo() {
        let photo = b"\xff\xd8\xff\xe0 a JPEG";
        let found = Sources::find(&["-".into()], false, &mut &photo[..]).unwrap();
        assert_eq!(found.photos, [Source::StandardInput(photo.to_vec())]);
        let error = |arguments: &[&str], input: &[u8]| {
            let arguments: Vec<PathBuf> = arguments.iter().map(PathBuf::from).collect();
            Sources::find(&arguments, false, &mut &input[..]).unwrap_err().to_string()
        };
        assert!(error(&["-", "-"], photo).contains("`-` twice"));
        assert!(error(&["-"], b"\n").contains("one a line, received nothing"));
        assert!(error(&["-"], b"\xfe\xfe").contains("one a line, received neither"));
    }

    #[test]
    fn what_holds_no_photos_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = |path: &Path| find(&[path], false, b"").unwrap_err().to_string();
        assert!(error(folder.path()).contains("BMP, TIFF or WebP, received none"));
        std::fs::create_dir(folder.path().join("cats")).unwrap();
        assert!(error(folder.path()).contains("received 1 folders\nhint: add --recursive"));
        std::fs::write(folder.path().join("scan.heic"), "").unwrap();
        assert!(error(folder.path()).contains("1 images that can't be read: "));
        assert!(error(&folder.path().join("*.jpg")).contains("a pattern that files match, received none"));
    }
}
