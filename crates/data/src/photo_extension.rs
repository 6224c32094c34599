//! Which files are photos, by their extension, and which are images that aren't read.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Extensions of photos, compared without regard to case: those of Keras, TIFF, WebP, and the rarer ones of JPEG (`.jfif` is what Chrome
/// on Windows saves).
const PHOTOS: [&str; 12] = ["bmp", "gif", "jfif", "jpe", "jpeg", "jpg", "pjp", "pjpeg", "png", "tif", "tiff", "webp"];

/// Extensions of image formats that can't be decoded here.
///
/// Such files are reported as skipped; ignored silently, a folder full of them would look empty.
const UNSUPPORTED: [&str; 7] = ["avif", "heic", "heif", "jp2", "jxl", "psd", "svg"];

/// Extensions of raw files of cameras.
const RAW: [&str; 11] = ["arw", "cr2", "cr3", "dng", "nef", "orf", "pef", "raf", "raw", "rw2", "srw"];

/// Whether the file at `path` is named as a photo. A file without an extension is one if it starts like one, and so is one with the
/// extension of a format that isn't read: programs save JPEG files as `.heic`.
pub(crate) fn is_photo(path: &Path) -> bool {
    match path.extension() {
        Some(_) => has_one_of(path, &PHOTOS) || has_one_of(path, &UNSUPPORTED) && starts_like_a_photo(path),
        None => starts_like_a_photo(path),
    }
}

/// Why an image of another format is left out, and what to do; `None` if the extension is none of such a format.
pub(crate) fn unsupported(path: &Path) -> Option<String> {
    if let Some(reason) = raw(path) {
        return Some(reason);
    }
    let extension = path.extension()?.to_string_lossy().to_uppercase();
    let name = match &*extension {
        "HEIF" => "HEIC",
        other => other,
    };
    has_one_of(path, &UNSUPPORTED).then(|| not_read(name))
}

/// Why a raw file of a camera is left out, and what to do; `None` if the extension is none of such a file.
pub(crate) fn raw(path: &Path) -> Option<String> {
    has_one_of(path, &RAW).then(|| RAW_REASON.to_owned())
}

/// The reason for a raw file of a camera.
pub(crate) const RAW_REASON: &str = "raw files of cameras aren't read; export it as JPEG";

/// The reason for an image of a format that isn't read.
pub(crate) fn not_read(format: &str) -> String {
    format!("{format} isn't read; convert it to JPEG or PNG")
}

fn has_one_of(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().unwrap_or_default();
    extensions.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

fn starts_like_a_photo(path: &Path) -> bool {
    use image::ImageFormat::{Bmp, Gif, Jpeg, Png, WebP};
    let mut start = Vec::new();
    // Opening a pipe would wait for a writer.
    let read = path.is_file() && File::open(path).and_then(|file| file.take(16).read_to_end(&mut start)).is_ok();
    read && matches!(image::guess_format(&start), Ok(Jpeg | Png | Gif | Bmp | WebP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_count_in_any_case() {
        let is_photo = |name: &str| is_photo(Path::new(name));
        assert!(["a.jpg", "a.JFIF", "a.jpe", "a.WebP", "a.pjpeg"].into_iter().all(is_photo));
        assert!(!["a.txt", "a.heic", "a.jpg.part", "Thumbs.db"].into_iter().any(is_photo));
    }

    #[test]
    fn formats_that_are_not_read_are_named_with_what_to_do() {
        let reason = |name: &str| unsupported(Path::new(name));
        assert_eq!(reason("a.HEIC").as_deref(), Some("HEIC isn't read; convert it to JPEG or PNG"));
        assert_eq!(reason("a.heif").as_deref(), Some("HEIC isn't read; convert it to JPEG or PNG"));
        assert_eq!(reason("a.NEF").as_deref(), Some("raw files of cameras aren't read; export it as JPEG"));
        assert_eq!([reason("a.jpg"), reason("a.txt"), reason("a")], [None, None, None]);
    }

    #[test]
    fn a_name_without_extension_says_nothing_so_the_content_decides() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content, expected) in [
            ("IMG_1", &include_bytes!("../testdata/orientation_1.jpg")[..], true),
            ("IMG_2", include_bytes!("../testdata/rgba.png"), true),
            ("IMG_3.heic", include_bytes!("../testdata/orientation_1.jpg"), true),
            ("IMG_4.heic", b"\0\0\0\x18ftypheic", false),
            ("README", b"just a note", false),
            ("empty", b"", false),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            assert_eq!(is_photo(&path), expected, "{name}");
        }
    }
}
