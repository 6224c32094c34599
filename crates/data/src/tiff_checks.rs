//! Tells raw files of cameras from TIFF photos: both have the same container.

use crate::file::PhotoError;
use crate::photo_extension::RAW_REASON;

/// Tags of the first directory of a file (TIFF 6.0, section 8, and Adobe's DNG 1.7).
const NEW_SUBFILE_TYPE: u16 = 254;
const DNG_VERSION: u16 = 50706;

/// An error for a raw file: its first image is a preview, or it is marked as one of Canon's or Adobe's.
///
/// Directories that can't be read are left to the decoder.
pub(crate) fn check_kind(bytes: &[u8]) -> Result<(), PhotoError> {
    let is_canon = bytes.get(8..10) == Some(b"CR");
    let is_preview = first_directory(bytes, NEW_SUBFILE_TYPE).is_some_and(|kind| kind & 1 == 1);
    if is_canon || is_preview || first_directory(bytes, DNG_VERSION).is_some() {
        return Err(PhotoError::unsupported(RAW_REASON.to_owned()));
    }
    Ok(())
}

/// The value of a tag in the first directory, as if it were a 32-bit number; `None` if there is no such tag.
fn first_directory(bytes: &[u8], tag: u16) -> Option<u32> {
    let is_little = bytes.starts_with(b"II");
    let u16_at = |at: usize| {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let u32_at = |at: usize| {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let directory = usize::try_from(u32_at(4)?).ok()?;
    let entries = usize::from(u16_at(directory)?);
    let entry = (0..entries).map(|entry| directory + 2 + 12 * entry).find(|&entry| u16_at(entry) == Some(tag))?;
    u32_at(entry + 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose first directory has one entry.
    fn file(tag: u16, value: u32) -> Vec<u8> {
        let mut bytes = b"II*\0\x08\0\0\0\x01\0".to_vec();
        bytes.extend(tag.to_le_bytes());
        bytes.extend([4, 0, 1, 0, 0, 0]);
        bytes.extend(value.to_le_bytes());
        bytes
    }

    #[test]
    fn raw_files_are_known_by_their_first_directory() {
        let reason = |bytes: &[u8]| check_kind(bytes).err().map(|error| error.message);
        let raw = Some(RAW_REASON.to_owned());
        assert_eq!(reason(&file(NEW_SUBFILE_TYPE, 1)), raw);
        assert_eq!(reason(&file(DNG_VERSION, 0x0401)), raw);
        assert_eq!(reason(b"II*\0\x10\0\0\0CR\x02\0"), raw);
        for bytes in [&file(NEW_SUBFILE_TYPE, 0)[..], &file(256, 1), b"II*\0", b"MM\0*\xff\xff\xff\xff", b""] {
            assert_eq!(reason(bytes), None);
        }
        assert_eq!(reason(include_bytes!("../testdata/lzw.tif")), None);
    }
}
