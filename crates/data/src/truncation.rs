//! Detects photo files that are cut short, and bounds the pixels that a file of a given length can hold.
//!
//! The decoders don't do it: some fill missing rows with grey, some allocate for the declared size before they read.

use image::ImageFormat;

use crate::jpeg;

/// Whether a JPEG or WebP file ends before its image data does.
///
/// Their decoders fill missing data silently. The decoders of the other formats report truncation, so `false` is returned.
pub(crate) fn is_truncated(format: ImageFormat, bytes: &[u8]) -> bool {
    match format {
        ImageFormat::Jpeg => jpeg::is_truncated(bytes),
        ImageFormat::WebP => webp_is_truncated(bytes).unwrap_or(true),
        _ => false,
    }
}

/// Whether a WebP file is shorter than its RIFF header or one of its chunks declares; `None` if a header is cut.
///
/// The decoder allocates the declared length of a chunk before it reads the chunk.
fn webp_is_truncated(bytes: &[u8]) -> Option<bool> {
    let len = bytes.len() as u64;
    let number = |at: u64| {
        let bytes = bytes.get(usize::try_from(at).ok()?..)?.first_chunk()?;
        Some(u64::from(u32::from_le_bytes(*bytes)))
    };
    // RIFF sizes exclude the 8 bytes of the chunk header. The padding byte of the last odd-sized chunk may be missing.
    let end = number(4)? + 8;
    let mut chunk = 12;
    while chunk + 8 <= end.min(len) {
        let size = number(chunk + 4)?;
        if chunk + 8 + size > len {
            return Some(true);
        }
        chunk += 8 + size.next_multiple_of(2);
    }
    Some(len + 1 < end)
}

/// An upper bound on the pixels that a file of this format and length can hold.
///
/// A header that declares more pixels is false, so nothing must be allocated for it.
pub(crate) fn max_pixels_in(format: ImageFormat, bytes: &[u8]) -> u64 {
    let pixels_per_byte = match format {
        // Deflate expands one byte to at most 1032, and a byte holds at most 8 pixels of 1 bit.
        ImageFormat::Png => 1032 * 8,
        // Each 8 x 8 block of the luma channel takes at least one bit.
        ImageFormat::Jpeg => 8 * 8 * 8,
        // A GIF has at most 4096 LZW codes, and a code expands to at most as many pixels.
        ImageFormat::Gif => 4096,
        // RLE (compression 1 or 2): a 4-byte delta skips up to 255 x 255 pixels. Uncompressed: at least 1 bit a pixel.
        ImageFormat::Bmp if matches!(bytes.get(30), Some(1 | 2)) => 1 << 14,
        ImageFormat::Bmp => 8,
        // LZW: a code of 9 bits or more expands to at most 4096 bytes, of 8 pixels of 1 bit; Deflate and PackBits expand less.
        ImageFormat::Tiff => 4096 * 8,
        // WebP stores uniform areas in almost no bytes: any file may declare 2^24 pixels, a longer one 2^14 pixels per byte.
        _ => return (bytes.len() as u64).saturating_mul(1 << 14).max(1 << 24),
    };
    (bytes.len() as u64).saturating_mul(pixels_per_byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::pixels;

    /// A photo written by Pillow; see `testdata/generate.py`.
    macro_rules! photo {
        ($name:literal) => {
            include_bytes!(concat!("../testdata/", $name)).as_slice()
        };
    }

    #[test]
    fn a_photo_cut_short_anywhere_is_an_error() {
        for intact in [
            photo!("orientation_6.jpg"),
            photo!("progressive.jpg"),
            photo!("cmyk.jpg"),
            photo!("rgba.png"),
            photo!("animated.gif"),
            photo!("photo.bmp"),
            photo!("rgba.webp"),
            photo!("lossy.webp"),
            photo!("lzw.tif"),
            photo!("packbits.tif"),
        ] {
            // The picture ends at this byte. Later frames of a GIF or the closing chunk of a PNG follow it.
            let picture = match image::guess_format(intact).unwrap() {
                ImageFormat::Gif => intact.len() / 2,
                ImageFormat::Png => intact.len() - 16,
                // The last byte of these WebP files is padding.
                ImageFormat::WebP => intact.len() - 1,
                _ => intact.len(),
            };
            for length in 0..picture {
                assert!(pixels(&intact[..length]).is_err(), "{:?}: {length} of {} bytes", &intact[..4], intact.len());
            }
        }
    }
}
