//! Whether a photo's file has arrived whole.

use image::ImageFormat;

use crate::jpeg;

/// Whether the file reaches its end. Of these formats the decoders fill in what is missing without a word.
pub(crate) fn is_complete(format: ImageFormat, bytes: &[u8]) -> bool {
    match format {
        ImageFormat::Jpeg => jpeg::is_complete(bytes),
        ImageFormat::WebP => match bytes.get(4..8) {
            // The size leaves out 8 bytes of header; the byte that pads to an even size may be missing.
            Some(&[a, b, c, d]) => bytes.len() as u64 + 1 >= u64::from(u32::from_le_bytes([a, b, c, d])) + 8,
            _ => false,
        },
        _ => true,
    }
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
