//! A photo's file into upright RGB pixels.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use engraft_nn::{Error, Result};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

/// The most pixels a photo may declare, 178 megapixels: the size at which Pillow, too, takes an image for a
/// decompression bomb.
pub const MAX_PIXELS: u64 = 178_956_970;

/// The largest file that is read as a photo, 1 GiB: [`MAX_PIXELS`] uncompressed, with room for metadata.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

const FORMATS: &str = "a JPEG, PNG, GIF, BMP or WebP image";

/// A photo decoded, turned upright, its transparency flattened on white.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Columns, at least 1.
    pub width: usize,
    /// Rows, at least 1.
    pub height: usize,
    /// `[height, width, 3]`, red, green and blue in 0..=255.
    pub rgb: Vec<u8>,
}

/// Reads and decodes the photo at `path`, as [`decode_bytes`] does.
///
/// # Errors
/// Where the file can't be read, is no regular file, exceeds [`MAX_FILE_BYTES`], or fails to decode. The error names the
/// file.
pub fn decode(path: &Path) -> Result<Pixels> {
    let pixels = read(path).and_then(|bytes| pixels(&bytes));
    pixels.map_err(|problem| Error::because(path.display(), problem))
}

/// Decodes a photo from the content of its file; `place` is what errors call it.
///
/// JPEG (grey, CMYK and YCCK too), PNG, BMP and the first frame of a GIF or WebP are read. The content decides the
/// format, whatever the file is called. The EXIF orientation is applied, transparency is flattened on white, and of 16
/// bits the upper 8 are kept (as TensorFlow does).
///
/// # Errors
/// Where the content is none of these formats, is damaged or cut short, or declares more than [`MAX_PIXELS`].
pub fn decode_bytes(bytes: &[u8], place: impl fmt::Display) -> Result<Pixels> {
    pixels(bytes).map_err(|problem| Error::because(place, problem))
}

/// Why a photo is of no use, without its name.
pub(crate) type Problem = String;

/// The content of the photo's file at `path`.
pub(crate) fn read(path: &Path) -> std::result::Result<Vec<u8>, Problem> {
    // Asked before opening: a pipe would block there for ever.
    let metadata = path.metadata().map_err(|error| unreadable(&error))?;
    if !metadata.is_file() {
        return Err(format!(
            "expected a photo, received {}",
            if metadata.is_dir() { "a folder" } else { "no regular file" }
        ));
    }
    let too_large = || format!("expected at most {MAX_FILE_BYTES} bytes, received more");
    if metadata.len() > MAX_FILE_BYTES {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES { Err(too_large()) } else { Ok(bytes) }
}

/// What stopped a file or folder from being read, and what to do about it where that is plain.
pub(crate) fn unreadable(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "no permission to read it; give yourself read access".to_owned(),
        io::ErrorKind::NotFound => "not found".to_owned(),
        _ => format!("can't be read: {error}"),
    }
}

/// `bytes` decoded, upright and opaque.
pub(crate) fn pixels(bytes: &[u8]) -> std::result::Result<Pixels, Problem> {
    let format = sniff(bytes)?;
    let damaged = |error: ImageError| format!("damaged or cut short {}: {error}", name(format));
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format);
    decoder.limits(limits());
    let mut decoder = decoder.into_decoder().map_err(damaged)?;

    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(format!("expected at most {MAX_PIXELS} pixels, received {width} x {height}; scale it down"));
    }
    if width == 0 || height == 0 {
        return Err(format!("expected at least 1 x 1 pixels, received {width} x {height}"));
    }
    if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
        return Err("cut short JPEG: its end-of-image marker is missing; copy the file again".to_owned());
    }
    // Damaged metadata doesn't make a photo useless.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    image.apply_orientation(orientation);
    let (width, height) = (image.width() as usize, image.height() as usize);
    Ok(Pixels { width, height, rgb: opaque_rgb(image) })
}

/// The format that the first bytes tell.
fn sniff(bytes: &[u8]) -> std::result::Result<ImageFormat, Problem> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, WebP};
    if bytes.is_empty() {
        return Err("expected a photo, received an empty file".to_owned());
    }
    match image::guess_format(bytes) {
        Ok(format @ (Jpeg | Png | Gif | Bmp | WebP)) => Ok(format),
        Ok(other) => Err(format!("expected {FORMATS}, received {}; convert it to JPEG or PNG", name(other))),
        Err(_) => Err(format!("expected {FORMATS}, received something else")),
    }
}

fn name(format: ImageFormat) -> String {
    format!("{format:?}").to_uppercase()
}

/// Bounds what a decoder may allocate on the say of a file: 16-bit RGBA at [`MAX_PIXELS`].
fn limits() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_PIXELS * 8);
    limits
}

/// Whether a JPEG's segments and scans lead to its end-of-image marker. The decoder fills what is missing with grey and
/// says nothing, so it is asked here; a thumbnail's own end lies inside a segment and doesn't count.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xD9;
    let mut at = 0;
    while let Some(offset) = bytes[at..].iter().position(|&byte| byte == 0xFF) {
        at += offset + 1;
        match bytes.get(at..) {
            Some([END_OF_IMAGE, ..]) => return true,
            // Fill bytes, a stuffed zero, and the markers that stand alone: restart, start of image, temporary.
            Some([0xFF, ..]) => {}
            Some([0x00 | 0x01 | 0xD0..=0xD8, ..]) => at += 1,
            Some([_, high, low, ..]) => at += 1 + usize::from(u16::from_be_bytes([*high, *low])),
            _ => return false,
        }
        if at > bytes.len() {
            return false;
        }
    }
    false
}

/// `image` in 8 bits on a white ground.
fn opaque_rgb(image: DynamicImage) -> Vec<u8> {
    let high = |value: u16| (value >> 8) as u8;
    let on_white = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    match image {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageLuma8(image) => image.iter().flat_map(|&grey| [grey; 3]).collect(),
        DynamicImage::ImageLuma16(image) => image.iter().flat_map(|&grey| [high(grey); 3]).collect(),
        DynamicImage::ImageRgb16(image) => image.iter().map(|&value| high(value)).collect(),
        DynamicImage::ImageLumaA8(image) => image.pixels().flat_map(|p| [on_white(p[0], p[1]); 3]).collect(),
        DynamicImage::ImageLumaA16(image) => {
            image.pixels().flat_map(|p| [on_white(high(p[0]), high(p[1])); 3]).collect()
        }
        DynamicImage::ImageRgba16(image) => {
            image.pixels().flat_map(|p| [p[0], p[1], p[2]].map(|value| on_white(high(value), high(p[3])))).collect()
        }
        other => {
            let image = other.into_rgba8();
            image.pixels().flat_map(|p| [p[0], p[1], p[2]].map(|value| on_white(value, p[3]))).collect()
        }
    }
}
