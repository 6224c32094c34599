//! Decodes JPEG with libjpeg-turbo, whose pixels equal Pillow's bit for bit.
//!
//! The JPEG standard fixes neither the rounding of the inverse DCT nor the interpolation of subsampled chroma. Pillow (and so
//! Keras' `load_img`), OpenCV and PyTorch all use libjpeg, so models are trained on its pixels. Other decoders differ by up to 4
//! of 255, which moves VGG16's activations by 0.4 % of the largest one.
//!
//! The crate mozjpeg contains libjpeg-turbo's decoder with its defaults: the accurate integer DCT and smooth chroma upsampling.

use std::cell::Cell;
use std::io;
use std::panic::{catch_unwind, resume_unwind};
use std::ptr::null;

use image::RgbImage;
use mozjpeg::Decompress;
use mozjpeg_sys::{jpeg_common_struct, jpeg_error_mgr};

use crate::file::PhotoError;

/// The most scans that a JPEG may have.
///
/// Each scan costs a pass over the whole photo, even if it takes few bytes in the file, so unlimited scans would take unlimited
/// time. One scan for all DC coefficients, and one for each of the 63 AC coefficients of three components, are 190 scans. Pillow
/// writes 10.
const MAX_SCANS: usize = 200;

const START_OF_SCAN: u8 = 0xDA;
const END_OF_IMAGE: u8 = 0xD9;

thread_local! {
    /// Whether libjpeg has emitted a warning on this thread. The callback gets raw pointers only, so without `unsafe` it can
    /// reach no other state.
    static WARNED: Cell<bool> = const { Cell::new(false) };
}

/// An error for JPEGs of an unsupported process (lossless, hierarchical, arithmetic), or with more than [`MAX_SCANS`] scans.
pub(crate) fn check_kind(bytes: &[u8]) -> Result<(), PhotoError> {
    let mut scans = 0;
    for marker in markers(bytes).take_while(|&marker| marker != END_OF_IMAGE) {
        match marker {
            START_OF_SCAN => scans += 1,
            0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                let received = "received a lossless, hierarchical or arithmetically coded one; save the photo again";
                return Err(PhotoError::unsupported(format!("expected a baseline or progressive JPEG, {received}")));
            }
            _ => {}
        }
    }
    if scans > MAX_SCANS {
        let too_many = format!("expected at most {MAX_SCANS} scans in a JPEG, received {scans}; save the photo again");
        return Err(PhotoError::damaged(too_many));
    }
    Ok(())
}

/// Whether a decoder holds the coefficients of the whole photo before it computes pixels: those of a progressive JPEG, or of one
/// whose components come one after the other.
pub(crate) fn buffers_coefficients(bytes: &[u8]) -> bool {
    let scans = markers(bytes).take_while(|&marker| marker != END_OF_IMAGE).filter(|&marker| marker == START_OF_SCAN);
    scans.take(2).count() > 1
}

/// Decodes a grey or three-component JPEG; `None` for one of four components (CMYK, YCCK).
///
/// `size` is `(width, height)` as another parser read it; a header that differs is an error.
pub(crate) fn decode(bytes: &[u8], size: (u32, u32)) -> Result<Option<RgbImage>, PhotoError> {
    // On a fatal error, `raise_fatal_error` unwinds through libjpeg's C frames up to here. It can't bring libjpeg's message along
    // as the source: the message is behind a raw pointer, which takes `unsafe` to follow.
    let fatal = || PhotoError::damaged("damaged JPEG, or of a kind that libjpeg can't decode; save the photo again");
    catch_unwind(|| decode_or_unwind(bytes, size)).unwrap_or_else(|_| Err(fatal()))
}

fn decode_or_unwind(bytes: &[u8], size: (u32, u32)) -> Result<Option<RgbImage>, PhotoError> {
    let damaged = || PhotoError::damaged("damaged JPEG: its data is corrupt; copy the file again");
    let caused_by = |error: io::Error| damaged().caused_by(error);
    let header = Decompress::builder().with_err(error_manager()).from_mem(bytes).map_err(caused_by)?;
    // The caller has checked the allocation for this size.
    if header.size() != (size.0 as usize, size.1 as usize) {
        return Err(damaged());
    }
    if header.components().len() == 4 {
        return Ok(None);
    }
    // Warnings before the first scan (an unknown revision, stray bytes) don't concern pixels, so they are discarded here. Stray
    // bytes after the last row, which some cameras write, are never read.
    WARNED.set(false);
    let mut rows = header.rgb().map_err(caused_by)?;
    let rgb = rows.read_scanlines().map_err(caused_by)?;
    if WARNED.get() {
        return Err(damaged());
    }
    RgbImage::from_raw(size.0, size.1, rgb).map(Some).ok_or_else(damaged)
}

/// The markers of a JPEG in file order, restart markers inside scans included.
///
/// Segments are skipped as a whole, so the markers of an embedded thumbnail are not among them.
pub(crate) fn markers(mut rest: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        loop {
            let prefix = rest.iter().position(|&byte| byte == 0xFF)?;
            rest = &rest[prefix + 1..];
            let (marker, length) = match *rest {
                // A fill byte, or a stuffed 0xFF in scan data.
                [0xFF | 0x00, ..] => continue,
                // Markers without a segment: TEM, RSTn, SOI and EOI.
                [marker @ (0x01 | 0xD0..=0xD9), ..] => (marker, 0),
                [marker, high, low, ..] => (marker, u16::from_be_bytes([high, low])),
                _ => return None,
            };
            rest = rest.get(1 + usize::from(length)..)?;
            return Some(marker);
        }
    })
}

/// Whether a JPEG ends before its end-of-image marker.
pub(crate) fn is_truncated(bytes: &[u8]) -> bool {
    !markers(bytes).any(|marker| marker == END_OF_IMAGE)
}

/// libjpeg's callbacks. Unlike mozjpeg's default ones, they record warnings, which are the only sign of damage inside a scan.
fn error_manager() -> jpeg_error_mgr {
    jpeg_error_mgr {
        error_exit: Some(raise_fatal_error),
        emit_message: Some(record_warning),
        output_message: Some(ignore),
        format_message: None,
        reset_error_mgr: Some(ignore),
        msg_code: 0,
        msg_parm: Default::default(),
        trace_level: 0,
        num_warnings: 0,
        jpeg_message_table: null(),
        last_jpeg_message: 0,
        addon_message_table: null(),
        first_addon_message: 0,
        last_addon_message: 0,
    }
}

/// Ends decoding by unwinding. Unlike `panic!`, `resume_unwind` prints nothing.
extern "C-unwind" fn raise_fatal_error(_: &mut jpeg_common_struct) {
    resume_unwind(Box::new(()));
}

/// Sets [`WARNED`] for warnings, whose level is negative; other levels are trace messages.
extern "C-unwind" fn record_warning(_: &mut jpeg_common_struct, level: i32) {
    if level < 0 {
        WARNED.set(true);
    }
}

extern "C-unwind" fn ignore(_: &mut jpeg_common_struct) {}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;
    use crate::decode::{Pixels, pixels};
    use sha2::{Digest, Sha256};

    /// A photo written by Pillow; see `testdata/generate.py`, which also prints the digests expected below.
    macro_rules! photo {
        ($name:literal) => {
            include_bytes!(concat!("../testdata/", $name)).as_slice()
        };
    }

    /// `photo` with `inserted` before its end-of-image marker.
    fn with_tail(photo: &[u8], inserted: &[u8]) -> Vec<u8> {
        let (rest, end) = photo.split_at(photo.len() - 2);
        [rest, inserted, end].concat()
    }

    #[track_caller]
    fn assert_pixels(bytes: &[u8], digest: &str) {
        let Pixels { width, height, rgb } = pixels(bytes).unwrap();
        assert_eq!((width, height), (37, 23));
        let received: String = Sha256::digest(&rgb).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(received, digest);
    }

    const PIXELS_420: &str = "4a5109efbcb9c619d7d402edef3f3fb182b13e110513bc919cfb670ad0cead7d";

    #[test]
    fn pixels_are_pillows_bit_for_bit() {
        assert_pixels(photo!("exact_420.jpg"), PIXELS_420);
        assert_pixels(photo!("exact_444.jpg"), "efe7ab60a00dc7b1f3f86b3fcb366e458f625e92a28b04f08e5eef70c5b63c86");
        // A progressive JPEG stores the same coefficients in another order, so the pixels are equal.
        assert_pixels(photo!("exact_progressive.jpg"), PIXELS_420);
        assert_pixels(photo!("exact_grey.jpg"), "fe36f9bdebd9ddd76f5f873a2d52c3c07c29840333d7faf26aa269a70d4824fa");
    }

    #[test]
    fn oddities_outside_the_scan_do_no_harm() {
        let mut unknown_revision = photo!("exact_420.jpg").to_vec();
        assert_eq!(&unknown_revision[6..12], b"JFIF\0\x01");
        unknown_revision[11] = 7;
        assert_pixels(&unknown_revision, PIXELS_420);
        assert_pixels(&with_tail(photo!("exact_420.jpg"), &[0; 100]), PIXELS_420);
    }

    #[test]
    fn a_hole_in_a_scan_is_damage() {
        for photo in [photo!("exact_420.jpg"), photo!("exact_progressive.jpg"), photo!("exact_grey.jpg")] {
            let shortened = [&photo[..photo.len() - 40], &photo[photo.len() - 2..]].concat();
            assert!(!is_truncated(&shortened));
            let message = pixels(&shortened).unwrap_err().message;
            assert!(message.contains("damaged JPEG"), "{message}");
        }
    }

    #[test]
    fn no_byte_can_make_it_panic() {
        // Knuth's linear congruential generator of MMIX.
        let mut random = 1_u64;
        for photo in [photo!("exact_420.jpg"), photo!("exact_progressive.jpg"), photo!("exact_grey.jpg")] {
            let mut refused = 0;
            for at in 0..photo.len() {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let mut damaged = photo.to_vec();
                damaged[at] ^= ((random >> 33) % 255 + 1) as u8;
                match decode(&damaged, (37, 23)) {
                    Ok(image) => assert!(image.is_none_or(|image| image.dimensions() == (37, 23))),
                    Err(_) => refused += 1,
                }
            }
            assert!(refused > 0);
        }
    }

    #[test]
    fn the_error_of_the_decoder_is_the_source() {
        // Start and end of an image, and nothing between.
        let error = decode(&[0xFF, 0xD8, 0xFF, END_OF_IMAGE], (1, 1)).unwrap_err().at("a.jpg");
        assert!(error.source().is_some_and(|source| source.is::<io::Error>()), "{error}: {:?}", error.source());
    }

    #[test]
    fn a_size_other_than_declared_is_refused() {
        assert!(decode(photo!("exact_420.jpg"), (37, 23)).unwrap().is_some());
        assert!(decode(photo!("exact_420.jpg"), (37, 22)).is_err());
    }

    #[test]
    fn endless_scans_are_refused() {
        let photo = photo!("exact_progressive.jpg");
        let last = photo.windows(2).rposition(|marker| marker == [0xFF, START_OF_SCAN]).unwrap();
        let scan = &photo[last..photo.len() - 2];
        let message = pixels(&with_tail(photo, &scan.repeat(300))).unwrap_err().message;
        assert!(message.contains("at most 200 scans in a JPEG, received 310"), "{message}");
    }

    #[test]
    fn arithmetic_coding_is_refused() {
        let mut photo = photo!("exact_420.jpg").to_vec();
        let frame = photo.windows(2).position(|marker| marker == [0xFF, 0xC0]).unwrap();
        photo[frame + 1] = 0xC9;
        let message = pixels(&photo).unwrap_err().message;
        assert!(message.contains("received a lossless, hierarchical or arithmetically coded one"), "{message}");
        // `decode` doesn't call `check_kind`. It returns libjpeg's fatal error as an `Err`.
        assert!(decode(&photo, (37, 23)).unwrap_err().message.contains("damaged JPEG, or of a kind"));
    }
}
