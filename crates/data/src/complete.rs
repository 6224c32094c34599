//! Whether a photo's file has arrived whole.

use image::ImageFormat;

use crate::jpeg;

/// Whether the file reaches its end. Of these formats the decoders fill in what is missing without a word.
pub(crate) fn is_complete(format: ImageFormat, bytes: &[u8]) -> bool {
    match format {
        ImageFormat::Jpeg => jpeg::is_complete(bytes),
        ImageFormat::WebP => webp_is_complete(bytes).unwrap_or(false),
        _ => true,
    }
}

/// Whether all chunks of a WebP are there. Its decoder makes room for one before it reads it.
fn webp_is_complete(bytes: &[u8]) -> Option<bool> {
    let len = bytes.len() as u64;
    let number = |at: u64| {
        let bytes = bytes.get(usize::try_from(at).ok()?..)?.first_chunk()?;
        Some(u64::from(u32::from_le_bytes(*bytes)))
    };
    // Sizes leave out the 8 bytes before them; the byte that pads to an even size may be missing at the end.
    let end = number(4)? + 8;
    let mut chunk = 12;
    while chunk + 8 <= end.min(len) {
        let size = number(chunk + 4)?;
        if chunk + 8 + size > len {
            return Some(false);
        }
        chunk += 8 + size.next_multiple_of(2);
    }
    Some(len + 1 >= end)
}

/// The most pixels that a file of this format can hold, by its length. Beyond it, what the header declares is not there,
/// and no room is to be made for it.
pub(crate) fn most_pixels(format: ImageFormat, bytes: &[u8]) -> u64 {
    let each = match format {
        // Deflate makes at most 1032 bytes of one, and of a byte come at most 8 pixels.
        ImageFormat::Png => 1032 * 8,
        // Of its brightness, at least, each block of 8 by 8 pixels takes a bit.
        ImageFormat::Jpeg => 8 * 8 * 8,
        // A code stands for no more pixels than there are codes.
        ImageFormat::Gif => 4096,
        // Run lengths may pass over 255 by 255 pixels in four bytes; plain pixels take a bit at least.
        ImageFormat::Bmp if matches!(bytes.get(30), Some(1 | 2)) => 1 << 14,
        ImageFormat::Bmp => 8,
        // Equal pixels take next to nothing: what is small is let pass.
        _ => return (bytes.len() as u64).saturating_mul(1 << 14).max(1 << 24),
    };
    (bytes.len() as u64).saturating_mul(each)
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
        for whole in [
            photo!("orientation_6.jpg"),
            photo!("progressive.jpg"),
            photo!("cmyk.jpg"),
            photo!("rgba.png"),
            photo!("animated.gif"),
            photo!("photo.bmp"),
            photo!("rgba.webp"),
            photo!("lossy.webp"),
        ] {
            // An animation's later frames and a PNG's closing chunk may go missing without harm to the picture.
            let picture = match image::guess_format(whole).unwrap() {
                ImageFormat::Gif => whole.len() / 2,
                ImageFormat::Png => whole.len() - 16,
                // The padding byte.
                ImageFormat::WebP => whole.len() - 1,
                _ => whole.len(),
            };
            for length in 0..picture {
                assert!(pixels(&whole[..length]).is_err(), "{:?}: {length} of {} bytes", &whole[..4], whole.len());
            }
        }
    }
}
