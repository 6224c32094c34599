//! JPEG through libjpeg, for the sake of its pixels.
//!
//! The standard leaves to the decoder how the cosine transform rounds and how subsampled colours are interpolated. Pillow
//! (and so Keras' `load_img`), OpenCV and PyTorch leave both to libjpeg, and models have been trained on its pixels. Other
//! decoders stray from them by up to 4 of 255, enough to move VGG16's activations by 0.4 % of the largest. mozjpeg holds
//! libjpeg-turbo's decoder and sets its defaults: the accurate integer transform, and smooth interpolation.

use std::cell::Cell;
use std::panic::{catch_unwind, resume_unwind};
use std::ptr::null;

use image::RgbImage;
use mozjpeg::Decompress;
use mozjpeg_sys::{jpeg_common_struct, jpeg_error_mgr};

use crate::file::Problem;

/// The most scans a JPEG may have. Each of them walks over all of the photo, however few bytes it takes in the file. The
/// finest progression, a scan for every coefficient of every component, has 190; Pillow writes 10.
const MAX_SCANS: usize = 200;

const START_OF_SCAN: u8 = 0xDA;
const END_OF_IMAGE: u8 = 0xD9;

thread_local! {
    /// Whether libjpeg has warned on this thread. Only a thread's state can be reached from its callback without `unsafe`.
    static WARNED: Cell<bool> = const { Cell::new(false) };
}

/// Refuses by its markers what no decoder here reads, or would read for minutes.
pub(crate) fn check_kind(bytes: &[u8]) -> Result<(), Problem> {
    let mut scans = 0;
    for marker in markers(bytes).take_while(|&marker| marker != END_OF_IMAGE) {
        match marker {
            START_OF_SCAN => scans += 1,
            0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                let received = "received a lossless, hierarchical or arithmetically coded one; save it anew";
                return Err(Problem::unsupported(format!("expected a baseline or progressive JPEG, {received}")));
            }
            _ => {}
        }
    }
    if scans > MAX_SCANS {
        let too_many = format!("expected at most {MAX_SCANS} scans in a JPEG, received {scans}; save it anew");
        return Err(Problem::damaged(too_many));
    }
    Ok(())
}

/// Decodes a grey or three-coloured JPEG whose header declares `size`, width by height; `None` for one of four inks.
pub(crate) fn decode(bytes: &[u8], size: (u32, u32)) -> Result<Option<RgbImage>, Problem> {
    // libjpeg's fatal errors never return: they unwind through its C frames, from `give_up` to here.
    let gave_up = || Problem::damaged("damaged JPEG, or of a kind that libjpeg can't decode; save it anew");
    catch_unwind(|| decode_or_unwind(bytes, size)).unwrap_or_else(|_| Err(gave_up()))
}

fn decode_or_unwind(bytes: &[u8], size: (u32, u32)) -> Result<Option<RgbImage>, Problem> {
    let damaged = || Problem::damaged("damaged JPEG: its data is corrupt; copy the file again");
    let header = Decompress::builder().with_err(error_manager()).from_mem(bytes).map_err(|_| damaged())?;
    // What may be allocated has been decided by this size.
    if header.size() != (size.0 as usize, size.1 as usize) {
        return Err(damaged());
    }
    if header.components().len() == 4 {
        return Ok(None);
    }
    // What libjpeg finds odd before the first scan (an unknown revision, stray bytes) leaves the pixels alone. So does
    // what follows the last row of a baseline JPEG, where cameras leave stray bytes: it isn't read.
    WARNED.set(false);
    let mut rows = header.rgb().map_err(|_| damaged())?;
    let rgb = rows.read_scanlines().map_err(|_| damaged())?;
    if WARNED.get() {
        return Err(damaged());
    }
    RgbImage::from_raw(size.0, size.1, rgb).map(Some).ok_or_else(damaged)
}

/// The markers of a JPEG one after the other, with those that stand in its scans. Those of a thumbnail lie inside a segment
/// and don't count.
pub(crate) fn markers(mut rest: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        loop {
            let prefix = rest.iter().position(|&byte| byte == 0xFF)?;
            rest = &rest[prefix + 1..];
            let (marker, length) = match *rest {
                // A fill byte, or 255 as a value in a scan.
                [0xFF | 0x00, ..] => continue,
                // Those that stand alone: temporary, restart, start and end of image.
                [marker @ (0x01 | 0xD0..=0xD9), ..] => (marker, 0),
                [marker, high, low, ..] => (marker, u16::from_be_bytes([high, low])),
                _ => return None,
            };
            rest = rest.get(1 + usize::from(length)..)?;
            return Some(marker);
        }
    })
}

/// Whether a JPEG's segments and scans lead to its end.
pub(crate) fn is_complete(bytes: &[u8]) -> bool {
    markers(bytes).any(|marker| marker == END_OF_IMAGE)
}

/// mozjpeg's own would drop warnings without a trace, and with them damage inside a scan.
fn error_manager() -> jpeg_error_mgr {
    jpeg_error_mgr {
        error_exit: Some(give_up),
        emit_message: Some(note),
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

/// Ends decoding. Unlike `panic!`, this prints nothing.
extern "C-unwind" fn give_up(_: &mut jpeg_common_struct) {
    resume_unwind(Box::new(()));
}

/// Levels below 0 are warnings, the others tell what is going on.
extern "C-unwind" fn note(_: &mut jpeg_common_struct, level: i32) {
    if level < 0 {
        WARNED.set(true);
    }
}

extern "C-unwind" fn ignore(_: &mut jpeg_common_struct) {}

#[cfg(test)]
mod tests {
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
        // The same coefficients in another order.
        assert_pixels(photo!("exact_progressive.jpg"), PIXELS_420);
        assert_pixels(photo!("exact_grey.jpg"), "fe36f9bdebd9ddd76f5f873a2d52c3c07c29840333d7faf26aa269a70d4824fa");
    }

    #[test]
    fn what_is_odd_outside_the_scan_does_no_harm() {
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
            assert!(is_complete(&shortened));
            let problem = pixels(&shortened).unwrap_err().text;
            assert!(problem.contains("damaged JPEG"), "{problem}");
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
    fn a_size_other_than_declared_is_refused() {
        assert!(decode(photo!("exact_420.jpg"), (37, 23)).unwrap().is_some());
        assert!(decode(photo!("exact_420.jpg"), (37, 22)).is_err());
    }

    #[test]
    fn endless_scans_are_refused() {
        let photo = photo!("exact_progressive.jpg");
        let last = photo.windows(2).rposition(|marker| marker == [0xFF, START_OF_SCAN]).unwrap();
        let scan = &photo[last..photo.len() - 2];
        let problem = pixels(&with_tail(photo, &scan.repeat(300))).unwrap_err().text;
        assert!(problem.contains("at most 200 scans in a JPEG, received 310"), "{problem}");
    }

    #[test]
    fn arithmetic_coding_is_refused() {
        let mut photo = photo!("exact_420.jpg").to_vec();
        let frame = photo.windows(2).position(|marker| marker == [0xFF, 0xC0]).unwrap();
        photo[frame + 1] = 0xC9;
        let problem = pixels(&photo).unwrap_err().text;
        assert!(problem.contains("received a lossless, hierarchical or arithmetically coded one"), "{problem}");
        // Nor does it slip through to libjpeg, whose fatal error comes out as one.
        assert!(decode(&photo, (37, 23)).unwrap_err().text.contains("damaged JPEG, or of a kind"));
    }
}
