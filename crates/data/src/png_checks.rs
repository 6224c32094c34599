//! Checks of PNG files that the decoder omits.

use crate::file::PhotoError;

/// Bytes of the signature that a PNG starts with. Chunks follow.
const SIGNATURE_LEN: usize = 8;
/// Bytes of a chunk beside its data: length, name and checksum.
const CHUNK_OVERHEAD: usize = 4 + 4 + 4;

/// Offset of the colour type in a file: byte 9 of the data of the first chunk, `IHDR`.
const COLOUR_TYPE: usize = SIGNATURE_LEN + 8 + 9;
/// The colour type of indexed images, whose pixels are indices into a palette.
const INDEXED: u8 = 3;

/// An error where an indexed PNG's palette has not 1 to 256 colours of 3 bytes.
///
/// The decoder assumes such a palette without checking it.
pub(crate) fn check_palette(bytes: &[u8]) -> Result<(), PhotoError> {
    let first = chunks(bytes).find(|(name, _)| [b"PLTE", b"IDAT"].contains(name));
    let palette = first.filter(|(name, _)| *name == b"PLTE" && bytes.get(COLOUR_TYPE) == Some(&INDEXED));
    match palette {
        Some((_, length)) if length % 3 != 0 || !(3..=3 * 256).contains(&length) => {
            let expected = "expected a palette of 1 to 256 colours, 3 bytes each";
            Err(PhotoError::damaged(format!("damaged PNG: {expected}, received {length} bytes; save the photo again")))
        }
        _ => Ok(()),
    }
}

/// The name and data length of every chunk, in file order.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], usize)> {
    let mut at = SIGNATURE_LEN;
    std::iter::from_fn(move || {
        let (length, rest) = bytes.get(at..)?.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        at = at.checked_add(CHUNK_OVERHEAD)?.checked_add(length)?;
        Some((rest.first_chunk()?, length))
    })
}

#[cfg(test)]
mod tests {
    use crate::decode_bytes;

    #[test]
    fn palettes_that_are_none_are_refused() {
        for (bytes, length) in [
            (include_bytes!("../testdata/palette_empty.png").as_slice(), 0),
            (include_bytes!("../testdata/palette_of_parts.png").as_slice(), 109),
            (include_bytes!("../testdata/palette_of_257.png").as_slice(), 771),
        ] {
            let error = decode_bytes(bytes, "photo").unwrap_err().to_string();
            assert!(error.contains(&format!("1 to 256 colours, 3 bytes each, received {length} bytes")), "{error}");
        }
    }

    #[test]
    fn a_palette_beside_colours_is_a_suggestion() {
        let mut bytes = include_bytes!("../testdata/palette_of_parts.png").to_vec();
        bytes[super::COLOUR_TYPE] = 2;
        assert!(super::check_palette(&bytes).is_ok());
    }
}
