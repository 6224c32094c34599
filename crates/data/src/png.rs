//! What a PNG's decoder takes for granted.

use crate::file::Problem;

/// A PNG begins with a signature, and goes on with chunks: the length of their data, a name, the data, a checksum.
const SIGNATURE: usize = 8;
const CHUNK: usize = 4 + 4 + 4;

/// Where the header tells the kind of colours, and that of numbers of colours in a palette.
const KIND: usize = SIGNATURE + 8 + 9;
const PALETTE: u8 = 3;

/// Refuses a palette that is none: its decoder reads colours of 3 bytes, at most 256 of them, without looking.
pub(crate) fn check_palette(bytes: &[u8]) -> Result<(), Problem> {
    let first = chunks(bytes).find(|(name, _)| [b"PLTE", b"IDAT"].contains(name));
    let palette = first.filter(|(name, _)| *name == b"PLTE" && bytes.get(KIND) == Some(&PALETTE));
    match palette {
        Some((_, length)) if length % 3 != 0 || !(3..=3 * 256).contains(&length) => {
            let expected = "expected a palette of 1 to 256 colours, 3 bytes each";
            Err(Problem::damaged(format!("damaged PNG: {expected}, received {length} bytes; save it anew")))
        }
        _ => Ok(()),
    }
}

/// Name and length of every chunk.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], usize)> {
    let mut at = SIGNATURE;
    std::iter::from_fn(move || {
        let (length, rest) = bytes.get(at..)?.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        at = at.checked_add(CHUNK)?.checked_add(length)?;
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
        bytes[super::KIND] = 2;
        assert!(super::check_palette(&bytes).is_ok());
    }
}
