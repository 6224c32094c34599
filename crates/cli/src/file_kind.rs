//! What lies at a path: nothing, a folder, a photo, a model file. Content decides, not the name.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// Nothing, or nothing that this user may look at.
    Missing,
    Folder,
    /// A device, pipe or socket.
    Special,
    Empty,
    /// An image, also in a format that engraft doesn't read.
    Photo,
    /// A model or its weights: `.keras`, HDF5, ONNX or safetensors.
    Model,
    /// Any other file.
    Other,
}

impl FileKind {
    /// Looks at the first bytes of the file at `path`, following links.
    pub(crate) fn of(path: &Path) -> Self {
        let Ok(metadata) = path.metadata() else { return Self::Missing };
        if metadata.is_dir() {
            return Self::Folder;
        }
        // Opening a pipe would wait for a writer.
        if !metadata.is_file() {
            return Self::Special;
        }
        let mut start = Vec::new();
        match File::open(path).and_then(|file| file.take(64).read_to_end(&mut start)) {
            Ok(0) => Self::Empty,
            Ok(_) => Self::of_content(&start),
            Err(_) => Self::Other,
        }
    }

    pub(crate) fn of_content(start: &[u8]) -> Self {
        if is_photo(start) {
            Self::Photo
        } else if is_model(start) {
            Self::Model
        } else {
            Self::Other
        }
    }
}

/// Whether a file that starts like this is an image: JPEG, PNG, GIF, BMP, WebP, TIFF (also most raw formats), HEIC or AVIF.
fn is_photo(start: &[u8]) -> bool {
    let at = |position: usize, signature: &[u8]| start.get(position..).is_some_and(|rest| rest.starts_with(signature));
    let signatures: [&[u8]; 5] = [b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*"];
    let heif: [&[u8]; 6] = [b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis"];
    signatures.iter().any(|signature| at(0, signature))
        || at(0, b"RIFF") && at(8, b"WEBP")
        || at(4, b"ftyp") && heif.iter().any(|brand| at(8, brand))
        // Two letters could start a text, but a text has no four zeros after the length.
        || at(0, b"BM") && at(6, &[0; 4])
}

/// Whether a file that starts like this holds a model or weights.
fn is_model(start: &[u8]) -> bool {
    let at = |position: usize, signature: &[u8]| start.get(position..).is_some_and(|rest| rest.starts_with(signature));
    // The name of the first entry of an archive starts at byte 30.
    let entries: [&[u8]; 3] = [b"metadata.json", b"config.json", b"model.weights"];
    at(0, b"PK\x03\x04") && entries.iter().any(|entry| at(30, entry))
        || at(0, b"\x89HDF\r\n\x1a\n")
        // The header of safetensors: its length, then JSON.
        || at(8, b"{\"") && at(4, &[0; 4])
        // ONNX has no signature. Its writers start with the fields ir_version and producer_name.
        || matches!(start, [0x08, 1..=20, 0x12, ..])
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "nothing",
            Self::Folder => "a folder",
            Self::Special => "a device or pipe",
            Self::Empty => "an empty file",
            Self::Photo => "a photo",
            Self::Model => "a model file",
            Self::Other => "another kind of file",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_tells_the_kind() {
        let mut archive = b"PK\x03\x04".to_vec();
        archive.resize(30, 0);
        let archive = |name: &[u8]| [&archive[..], name].concat();
        for (start, expected) in [
            (b"\xff\xd8\xff\xe0\0\x10JFIF".to_vec(), FileKind::Photo),
            (b"RIFF\x10\0\0\0WEBPVP8 ".to_vec(), FileKind::Photo),
            (b"\0\0\0\x18ftypheic".to_vec(), FileKind::Photo),
            (b"BM\x36\x10\0\0\0\0\0\0".to_vec(), FileKind::Photo),
            (b"BM is a text".to_vec(), FileKind::Other),
            (archive(b"metadata.json"), FileKind::Model),
            (archive(b"word/document.xml"), FileKind::Other),
            (b"\x89HDF\r\n\x1a\n\0".to_vec(), FileKind::Model),
            (b"\x40\0\0\0\0\0\0\0{\"a\":{}}".to_vec(), FileKind::Model),
            (b"\x08\x08\x12\x07engraft".to_vec(), FileKind::Model),
            (b"path,label\n".to_vec(), FileKind::Other),
            (b"{\"loss\": [0.5]}".to_vec(), FileKind::Other),
        ] {
            assert_eq!(FileKind::of_content(&start), expected, "{start:?}");
        }
    }

    #[test]
    fn what_is_no_file_is_told_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!([FileKind::of(folder.path()), FileKind::of(&path)], [FileKind::Folder, FileKind::Missing]);
        std::fs::write(&path, "").unwrap();
        assert_eq!(FileKind::of(&path), FileKind::Empty);
        #[cfg(unix)]
        assert_eq!(FileKind::of(Path::new("/dev/null")), FileKind::Special);
    }
}
