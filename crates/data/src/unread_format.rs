//! Names what a file that is no readable photo is, from its first bytes, so that its reason says what to do.

use crate::decode::name;
use crate::file::PhotoError;
use crate::photo_extension::not_read;

/// Brands of ISO base media files (ISO/IEC 14496-12) with images: HEIC is what phones save.
const HEIC: [&[u8]; 7] = [b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"];
const AVIF: [&[u8]; 2] = [b"avif", b"avis"];

/// How a saved web page starts, in lower case: an error page that was downloaded as a photo.
const PAGES: [&[u8]; 2] = [b"<!doctype html", b"<html"];

/// Why a file that starts with `bytes` isn't read, where `formats` are.
pub(crate) fn reason(bytes: &[u8], formats: &str) -> PhotoError {
    let brand = bytes.get(4..12).and_then(|start| start.strip_prefix(b"ftyp")).unwrap_or_default();
    let page: Vec<u8> = bytes.trim_ascii_start().iter().take(14).map(u8::to_ascii_lowercase).collect();
    let other = |what: &str| PhotoError::damaged(format!("expected {formats}, received {what}"));
    match image::guess_format(bytes) {
        _ if AVIF.contains(&brand) => PhotoError::unsupported(not_read("AVIF")),
        _ if HEIC.contains(&brand) => PhotoError::unsupported(not_read("HEIC")),
        _ if PAGES.iter().any(|start| page.starts_with(start)) => other("a web page"),
        Ok(format) => PhotoError::unsupported(not_read(&name(format))),
        Err(_) => other("another format"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_named_with_what_to_do() {
        let reason = |bytes: &[u8]| reason(bytes, "a JPEG").message;
        assert_eq!(reason(b"P6 1 1 255 "), "PNM isn't read; convert it to JPEG or PNG");
        assert_eq!(reason(b"\0\0\0\x18ftypheic\0\0\0\0"), "HEIC isn't read; convert it to JPEG or PNG");
        assert_eq!(reason(b"\0\0\0\x18ftypavif\0\0\0\0"), "AVIF isn't read; convert it to JPEG or PNG");
        assert_eq!(reason(b"\n <!DOCTYPE HTML><title>404</title>"), "expected a JPEG, received a web page");
        assert_eq!(reason(b"\0\0\0\x18ftypisom"), "expected a JPEG, received another format");
        assert_eq!(reason(b"a note"), "expected a JPEG, received another format");
    }
}
