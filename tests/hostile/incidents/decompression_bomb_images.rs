//! Decompression bombs: small photos that declare huge images or huge metadata.

use std::io::Write;

use engraft_data::decode_bytes;
use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::{refused, refused_within};

/// A PNG file of these chunks.
fn png(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in chunks {
        let checked = [&kind[..], data].concat();
        let mut sum = flate2::Crc::new();
        sum.update(&checked);
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(checked);
        bytes.extend(sum.sum().to_be_bytes());
    }
    bytes
}

/// The header chunk of an 8-bit RGB image.
fn header(width: u32, height: u32) -> (&'static [u8; 4], Vec<u8>) {
    (b"IHDR", [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat())
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn more_pixels_than_any_photo() {
    let jpeg = {
        let mut bytes = include_bytes!("../../../crates/data/testdata/exact_420.jpg").to_vec();
        let frame = bytes.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
        bytes[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
        bytes
    };
    let gif =
        b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff\x2c\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\0;".to_vec();
    let bmp = {
        let mut bytes = include_bytes!("../../../crates/data/testdata/photo.bmp").to_vec();
        bytes[18..26].copy_from_slice(&[0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0]);
        bytes
    };
    let png = png(&[header(60_000, 60_000), (b"IDAT", deflated(&[0; 1000])), (b"IEND", Vec::new())]);
    for (bytes, size) in
        [(jpeg, "65535 x 65535"), (gif, "65535 x 65535"), (bmp, "65535 x 65535"), (png, "60000 x 60000")]
    {
        refused(
            || decode_bytes(&bytes, "photo"),
            &["photo: expected at most 178956970 pixels, received ", size, "scale it down"],
        );
    }
}

/// 100 megapixels are allowed, but these files are too short to contain them.
#[test]
fn more_pixels_than_the_file_can_hold() {
    let jpeg = {
        let mut bytes = include_bytes!("../../../crates/data/testdata/exact_420.jpg").to_vec();
        let frame = bytes.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
        bytes[frame + 5..frame + 9].copy_from_slice(&[0x27, 0x10, 0x27, 0x10]);
        bytes
    };
    let gif =
        b"GIF89a\x10\x27\x10\x27\x80\0\0\0\0\0\xff\xff\xff\x2c\0\0\0\0\x10\x27\x10\x27\0\x02\x02\x44\x01\0;".to_vec();
    let bmp = {
        let mut bytes = include_bytes!("../../../crates/data/testdata/photo.bmp").to_vec();
        bytes[18..26].copy_from_slice(&[0x10, 0x27, 0, 0, 0x10, 0x27, 0, 0]);
        bytes
    };
    let png = png(&[header(10_000, 10_000), (b"IDAT", deflated(&[0; 1000])), (b"IEND", Vec::new())]);
    for bytes in [jpeg, gif, bmp, png] {
        let expected = ["photo: ", "cut short: expected 10000 x 10000 pixels, received ", " bytes"];
        refused(|| decode_bytes(&bytes, "photo"), &expected);
    }
}

/// A colour profile that inflates to 128 MiB from an eighth of a megabyte. It is ignored, and the photo is decoded.
#[test]
fn a_profile_that_grows() {
    let profile = [b"profile\0\0", &deflated(&vec![0; 128 << 20])[..]].concat();
    let bytes = png(&[
        header(2, 1),
        (b"iCCP", profile),
        (b"IDAT", deflated(&[0, 255, 0, 0, 0, 0, 255])),
        (b"IEND", Vec::new()),
    ]);
    assert!(bytes.len() < 1 << 20);
    let (pixels, peak_bytes) = engraft_hostile::peak(|| decode_bytes(&bytes, "photo").unwrap());
    assert_eq!(pixels.rgb, [255, 0, 0, 0, 0, 255]);
    assert!(peak_bytes < 64 << 20, "{peak_bytes}");
}

/// Metadata that declares 2 GiB in a file of 130 bytes, which the decoder allocated.
#[test]
fn metadata_longer_than_the_file() {
    let mut bytes = include_bytes!("../../../crates/data/testdata/orientation_6.webp").to_vec();
    let chunk = bytes.windows(4).position(|kind| kind == b"EXIF").unwrap();
    bytes[chunk + 4..chunk + 8].copy_from_slice(&0x7fff_fff0_u32.to_le_bytes());
    refused(|| decode_bytes(&bytes, "photo"), &["photo: WEBP cut short; copy the file again"]);
}

/// A frame of 12,000 by 12,000 pixels in a GIF of 16 by 32, which the decoder allocated.
#[test]
fn a_frame_larger_than_its_picture() {
    let mut bytes = include_bytes!("../../../crates/data/testdata/animated.gif").to_vec();
    let frame = bytes.windows(5).position(|start| start == b"\x2c\0\0\0\0").unwrap();
    bytes[frame + 5..frame + 9].copy_from_slice(&[0xe0, 0x2e, 0xe0, 0x2e]);
    refused(|| decode_bytes(&bytes, "photo"), &["photo: damaged GIF: "]);
}

/// A progressive JPEG with 300 scans, each of which processes all pixels.
#[test]
fn scans_without_end() {
    let photo = include_bytes!("../../../crates/data/testdata/exact_progressive.jpg");
    let last = photo.windows(2).rposition(|marker| marker == [0xff, 0xda]).unwrap();
    let (body, scan) = (&photo[..photo.len() - 2], &photo[last..photo.len() - 2]);
    let bytes = [body, &scan.repeat(300), &[0xff, 0xd9]].concat();
    refused_within(
        1 << 20,
        || decode_bytes(&bytes, "photo"),
        &["photo: expected at most 200 scans in a JPEG, received 310"],
    );
}
