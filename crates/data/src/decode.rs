//! Decodes a photo's file into upright RGB pixels, with limits on what a hostile file can make the decoders allocate.
//!
//! Grey and three-component JPEG is decoded by libjpeg ([`jpeg`]); CMYK JPEG and the other formats by the crate `image`.

use std::fmt;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use engraft_nn::{ErrorKind, Result};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use crate::file::{PhotoError, read};
use crate::truncation::{is_truncated, max_pixels_in};
use crate::{decode_memory, jpeg, photo_extension, png_checks, tiff_checks, unread_format};

/// The most pixels that a photo may have: 179 megapixels. Pillow refuses larger images as decompression bombs.
///
/// ```
/// use engraft_data::{MAX_PIXELS, decode_bytes};
/// // The header of a BMP image of 20000 x 20000 pixels.
/// let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x20\x4e\0\0\x20\x4e\0\0\x01\0\x18\0".to_vec();
/// bmp.extend([0; 24]);
/// let error = decode_bytes(&bmp, "bomb.bmp").unwrap_err().to_string();
/// assert!(error.contains(&format!("at most {MAX_PIXELS} pixels")), "{error}");
/// ```
pub const MAX_PIXELS: u64 = 178_956_970;

/// Version of the pixels that decoding and resizing give. It is part of the key of everything that is stored about pixels.
///
/// It is raised with every change of a pixel, also by an update of a decoder.
///
/// ```
/// use engraft_data::DECODER_VERSION;
/// let key = format!("features of {} x {} pixels, decoder {DECODER_VERSION}", 224, 224);
/// assert!(key.ends_with("decoder 1"));
/// ```
pub const DECODER_VERSION: u32 = 1;

/// The formats that can be decoded, for error messages.
const FORMATS: &str = "a JPEG, PNG, GIF, BMP, TIFF or WebP image";

/// A decoded photo: 8-bit RGB, upright, without transparency.
///
/// ```
/// use engraft_data::Pixels;
/// // A camera's frame needs no file: a red pixel beside a blue one.
/// let frame = Pixels { width: 2, height: 1, rgb: vec![255, 0, 0, 0, 0, 255] };
/// assert_eq!(frame.rgb.len(), frame.height * frame.width * 3);
/// assert_eq!(frame.resize(1, 2), [255.0, 0.0, 0.0, 0.0, 0.0, 255.0]);
/// ```
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
/// Where the file can't be read, is no regular file, exceeds [`MAX_FILE_BYTES`](crate::MAX_FILE_BYTES), or fails to decode. The
/// error names the file.
///
/// ```
/// # // A BMP image of one red pixel.
/// # let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
/// # bmp.extend([0; 24]);
/// # bmp.extend([0, 0, 255, 0]);
///
/// use engraft_data::decode;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("red.bmp");
/// std::fs::write(&path, bmp)?;
/// assert_eq!(decode(&path)?.rgb, [255, 0, 0]);
///
/// let error = decode(&folder.path().join("blue.bmp")).unwrap_err();
/// assert!(error.to_string().contains("blue.bmp"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn decode(path: &Path) -> Result<Pixels> {
    from_file(path, pixels)
}

/// What `decode` makes of the bytes of the file at `path`. Errors name the file.
pub(crate) fn from_file<T>(path: &Path, decode: impl FnOnce(&[u8]) -> std::result::Result<T, PhotoError>) -> Result<T> {
    // A file of a format that isn't read has the reason that a scan of its folder gives.
    let reason = |error| photo_extension::unsupported(path).map_or(error, PhotoError::unsupported);
    let decoded = match photo_extension::raw(path) {
        // Most raw files are TIFF files whose first image is a small preview.
        Some(reason) => Err(PhotoError::unsupported(reason)),
        None => read(path).and_then(|bytes| decode(&bytes).map_err(reason)),
    };
    decoded.map_err(|error| error.at(path.display()))
}

/// Decodes a photo from the bytes of its file. Errors name the photo as `place`.
///
/// Reads JPEG (grey, CMYK and YCCK too), PNG, BMP, the first frame of a GIF or WebP and the first image of a TIFF. The format is detected from the content,
/// not from a file name. The EXIF orientation is applied, transparency is blended onto white, and 16-bit values are reduced to
/// their upper 8 bits, as in TensorFlow.
///
/// The pixels of a grey or RGB JPEG equal those of Pillow and Keras' `load_img` bit for bit: both use libjpeg's accurate inverse
/// DCT. Those of a CMYK or YCCK JPEG differ by a few levels of 255. TensorFlow's `decode_jpeg` uses the fast DCT by default,
/// which differs by up to 20 levels.
///
/// # Errors
/// Where the content has none of these formats, is damaged or truncated, or declares more than [`MAX_PIXELS`] pixels.
///
/// ```
/// # // A BMP image of one red pixel.
/// # let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
/// # bmp.extend([0; 24]);
/// # bmp.extend([0, 0, 255, 0]);
///
/// use engraft_data::decode_bytes;
/// let photo = decode_bytes(&bmp, "upload 1")?;
/// assert_eq!((photo.width, photo.height, photo.rgb), (1, 1, vec![255, 0, 0]));
///
/// let error = decode_bytes(b"no photo", "upload 2").unwrap_err();
/// assert!(error.to_string().starts_with("upload 2"));
/// # Ok::<(), engraft_data::Error>(())
/// ```
pub fn decode_bytes(bytes: &[u8], place: impl fmt::Display) -> Result<Pixels> {
    pixels(bytes).map_err(|error| error.at(place))
}

/// Decodes `bytes` as [`decode_bytes`] does, with an error that doesn't name the photo.
pub(crate) fn pixels(bytes: &[u8]) -> std::result::Result<Pixels, PhotoError> {
    decoded(bytes, Pixels::opaque)
}

/// Decodes `bytes` as [`decode_bytes`] does, and converts the upright image with `convert`, within the memory reserved for the photo.
///
/// Apart from the image, `convert` may allocate 7 bytes a pixel, or nothing for an image of 8-bit RGB.
pub(crate) fn decoded<T>(bytes: &[u8], convert: impl FnOnce(DynamicImage) -> T) -> std::result::Result<T, PhotoError> {
    let format = detect_format(bytes)?;
    match format {
        ImageFormat::Jpeg => jpeg::check_kind(bytes)?,
        ImageFormat::Png => png_checks::check_palette(bytes)?,
        ImageFormat::Tiff => tiff_checks::check_kind(bytes)?,
        _ => {}
    }
    let damaged = |error: ImageError| {
        if format == ImageFormat::Tiff && matches!(error, ImageError::Unsupported(_)) {
            return PhotoError::unsupported(photo_extension::not_read("this kind of TIFF")).caused_by(error);
        }
        let kind = match error {
            ImageError::Unsupported(_) => ErrorKind::Unsupported,
            _ => ErrorKind::InvalidData,
        };
        PhotoError::new(kind, format!("damaged {}: {error}", name(format))).caused_by(error)
    };
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format);
    decoder.limits(limits(format, bytes.len()));
    let mut decoder = decoder.into_decoder().map_err(damaged)?;

    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        let too_many = format!("expected at most {MAX_PIXELS} pixels, received {width} x {height}; scale it down");
        return Err(PhotoError::damaged(too_many));
    }
    if width == 0 || height == 0 {
        return Err(PhotoError::damaged(format!("expected at least 1 x 1 pixels, received {width} x {height}")));
    }
    if u64::from(width) * u64::from(height) > max_pixels_in(format, bytes) {
        let received = format!("expected {width} x {height} pixels, received {} bytes", bytes.len());
        return Err(PhotoError::damaged(format!("{} cut short: {received}; copy the file again", name(format))));
    }
    if is_truncated(format, bytes) {
        return Err(PhotoError::damaged(format!("{} cut short; copy the file again", name(format))));
    }
    // Unreadable EXIF metadata is no reason to refuse a photo.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let needed = peak_bytes(format, bytes, &decoder, orientation);
    let _memory = decode_memory::reserve(needed, (width, height))?;
    let through_libjpeg = if format == ImageFormat::Jpeg { jpeg::decode(bytes, (width, height))? } else { None };
    let mut image = match through_libjpeg {
        Some(image) => DynamicImage::ImageRgb8(image),
        // A panic in a decoder must cost one photo, not the whole run.
        None => catch_unwind(AssertUnwindSafe(|| DynamicImage::from_decoder(decoder)))
            .map_err(|_| {
                PhotoError::damaged(format!("damaged {}: the decoder failed; save the photo again", name(format)))
            })?
            .map_err(damaged)?,
    };
    image.apply_orientation(orientation);
    Ok(convert(image))
}

impl Pixels {
    /// The image without its transparency, which is blended onto white.
    pub(crate) fn opaque(image: DynamicImage) -> Self {
        let (width, height) = (image.width() as usize, image.height() as usize);
        Self { width, height, rgb: opaque_rgb(image) }
    }
}

/// Most bytes that are allocated at once while a photo is decoded, turned upright and converted to RGB.
fn peak_bytes(format: ImageFormat, bytes: &[u8], decoder: &impl ImageDecoder, orientation: Orientation) -> u64 {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    let decoded = decoder.total_bytes();
    let internal = match format {
        // Two bytes for each coefficient, of which there are at most as many as samples.
        ImageFormat::Jpeg if jpeg::buffers_coefficients(bytes) => 2 * decoded,
        // A frame of RGBA.
        ImageFormat::Gif | ImageFormat::WebP => 4 * pixels,
        // The image before it is copied, of up to 8 bytes a pixel, and a strip.
        ImageFormat::Tiff => 2 * decoded.max(8 * pixels),
        _ => 0,
    };
    let turned = if matches!(orientation, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH) { decoded } else { 0 };
    // 8-bit RGB is used as it is. Other kinds become RGB, some by way of RGBA.
    let converted = if decoder.color_type() == ColorType::Rgb8 { 0 } else { 7 * pixels };
    bytes.len() as u64 + decoded + internal.max(turned).max(converted)
}

/// Detects the format from the first bytes.
fn detect_format(bytes: &[u8]) -> std::result::Result<ImageFormat, PhotoError> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    if bytes.is_empty() {
        return Err(PhotoError::damaged("expected a photo, received an empty file"));
    }
    match image::guess_format(bytes) {
        Ok(format @ (Jpeg | Png | Gif | Bmp | Tiff | WebP)) => Ok(format),
        _ => Err(unread_format::reason(bytes, FORMATS)),
    }
}

/// The name of a format as people write it.
pub(crate) fn name(format: ImageFormat) -> String {
    format!("{format:?}").to_uppercase()
}

/// The most bytes of a PNG's decompressed metadata, such as a colour profile; larger metadata is ignored.
const MAX_METADATA: u64 = 16 << 20;

/// Limits on the bytes that a decoder may allocate, since a file's header can declare any size.
///
/// For JPEG, BMP and WebP the limit is [`MAX_PIXELS`] of 16-bit RGBA. The PNG decoder counts only metadata against its limit. For
/// GIF the limit grows with the length of the file.
fn limits(format: ImageFormat, len: usize) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(match format {
        ImageFormat::Png => len as u64 + MAX_METADATA,
        // The decoder allocates a whole frame of 4 bytes per pixel, and a frame may be declared larger than the image. A byte of
        // the file holds at most 4096 pixels.
        ImageFormat::Gif => 4 * 4096 * len as u64,
        _ => MAX_PIXELS * 8,
    });
    limits
}

/// The 8 bits that are kept of 16, as TensorFlow and Pillow keep them.
pub(crate) fn upper_byte(value: u16) -> u8 {
    (value >> 8) as u8
}

/// The image as 8-bit RGB, blended onto white.
fn opaque_rgb(image: DynamicImage) -> Vec<u8> {
    let on_white = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    match image {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageLuma8(image) => image.iter().flat_map(|&grey| [grey; 3]).collect(),
        DynamicImage::ImageLuma16(image) => image.iter().flat_map(|&grey| [upper_byte(grey); 3]).collect(),
        DynamicImage::ImageRgb16(image) => image.iter().map(|&value| upper_byte(value)).collect(),
        DynamicImage::ImageLumaA8(image) => image.pixels().flat_map(|p| [on_white(p[0], p[1]); 3]).collect(),
        DynamicImage::ImageLumaA16(image) => {
            image.pixels().flat_map(|p| [on_white(upper_byte(p[0]), upper_byte(p[1])); 3]).collect()
        }
        DynamicImage::ImageRgba16(image) => image
            .pixels()
            .flat_map(|p| [p[0], p[1], p[2]].map(|value| on_white(upper_byte(value), upper_byte(p[3]))))
            .collect(),
        other => {
            let image = other.into_rgba8();
            image.pixels().flat_map(|p| [p[0], p[1], p[2]].map(|value| on_white(value, p[3]))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A photo written by Pillow; see `testdata/generate.py`, which also prints the values expected below.
    macro_rules! photo {
        ($name:literal) => {
            include_bytes!(concat!("../testdata/", $name)).as_slice()
        };
    }

    const RED: [u8; 3] = [250, 10, 20];
    const GREEN: [u8; 3] = [30, 200, 40];
    const BLUE: [u8; 3] = [20, 60, 220];
    const WHITE: [u8; 3] = [255, 255, 255];

    fn corners(pixels: &Pixels) -> [[u8; 3]; 4] {
        let (right, bottom) = (pixels.width - 1, pixels.height - 1);
        [(0, 0), (right, 0), (0, bottom), (right, bottom)].map(|(x, y)| {
            let at = (y * pixels.width + x) * 3;
            [pixels.rgb[at], pixels.rgb[at + 1], pixels.rgb[at + 2]]
        })
    }

    /// Asserts the corner colours of a 16 x 32 photo in four colours.
    ///
    /// For lossy formats the tolerance is 3 of 255: decoders round the DCT and the colour conversion differently.
    #[track_caller]
    fn assert_corners(bytes: &[u8], expected: [[u8; 3]; 4], tolerance: u8) {
        let pixels = pixels(bytes).unwrap();
        assert_eq!((pixels.width, pixels.height, pixels.rgb.len()), (16, 32, 16 * 32 * 3));
        let corners = corners(&pixels);
        let close = corners.iter().flatten().zip(expected.iter().flatten()).all(|(&a, &b)| a.abs_diff(b) <= tolerance);
        assert!(close, "expected {expected:?}, received {corners:?}");
    }

    #[test]
    fn all_eight_orientations_come_out_upright() {
        for bytes in [
            photo!("orientation_1.jpg"),
            photo!("orientation_2.jpg"),
            photo!("orientation_3.jpg"),
            photo!("orientation_4.jpg"),
            photo!("orientation_5.jpg"),
            photo!("orientation_6.jpg"),
            photo!("orientation_7.jpg"),
            photo!("orientation_8.jpg"),
        ] {
            assert_corners(bytes, [RED, GREEN, BLUE, WHITE], 3);
        }
    }

    #[test]
    fn png_and_webp_are_oriented_too() {
        assert_corners(photo!("orientation_6.png"), [RED, GREEN, BLUE, WHITE], 0);
        assert_corners(photo!("orientation_6.webp"), [RED, GREEN, BLUE, WHITE], 0);
    }

    #[test]
    fn every_kind_of_jpeg_is_read() {
        assert_corners(photo!("progressive.jpg"), [RED, GREEN, BLUE, WHITE], 3);
        assert_corners(photo!("grey.jpg"), [[83; 3], [131; 3], [66; 3], WHITE], 3);
        assert_corners(photo!("cmyk.jpg"), [[245, 55, 155], WHITE, [55, 55, 55], [125, 125, 33]], 3);
        assert_corners(photo!("ycck.jpg"), [[55, 55, 55], [173, 155, 107], [0, 0, 0], [29, 70, 96]], 3);
    }

    #[test]
    fn the_first_frame_stands_for_an_animation() {
        assert_corners(photo!("animated.gif"), [RED, GREEN, BLUE, WHITE], 0);
        assert_corners(photo!("animated.webp"), [RED, GREEN, BLUE, WHITE], 0);
    }

    #[test]
    fn bmp_and_lossy_webp_are_read() {
        assert_corners(photo!("photo.bmp"), [RED, GREEN, BLUE, WHITE], 0);
        assert_corners(photo!("palette.bmp"), [[255, 0, 0], [51, 204, 51], [0, 51, 204], WHITE], 0);
        assert_corners(photo!("lossy.webp"), [RED, GREEN, BLUE, WHITE], 3);
    }

    #[test]
    fn tiff_is_read_with_its_orientation_and_compressions() {
        for bytes in [photo!("orientation_6.tif"), photo!("packbits.tif"), photo!("lzw.tif"), photo!("deflate.tif")] {
            assert_corners(bytes, [RED, GREEN, BLUE, WHITE], 0);
        }
        assert_corners(photo!("grey.tif"), [[83; 3], [131; 3], [66; 3], WHITE], 0);
        assert_eq!(
            pixels(photo!("rgba.tif")).unwrap().rgb,
            [RED, WHITE, [161, 177, 241], [254; 3]].concat(),
            "transparency on white"
        );
        let error = decode_bytes(photo!("palette.tif"), "scan.tif").unwrap_err().to_string();
        assert!(error.starts_with("scan.tif: this kind of TIFF isn't read; convert it to JPEG or PNG"), "{error}");
    }

    #[test]
    fn of_sixteen_bits_the_upper_eight_are_kept() {
        let values = [0, 0, 1, 127, 128, 156, 254, 255].iter().flat_map(|&grey: &u8| [grey; 3]);
        let expected = Pixels { width: 4, height: 2, rgb: values.collect() };
        assert_eq!(pixels(photo!("grey16.png")).unwrap(), expected);
    }

    #[test]
    fn transparency_is_flattened_on_white() {
        let rgb = |bytes| pixels(bytes).unwrap().rgb;
        assert_eq!(rgb(photo!("palette.png")), [RED, WHITE, [161, 177, 241], WHITE].concat());
        assert_eq!(rgb(photo!("rgba.png")), [RED, WHITE, [161, 177, 241], [254; 3]].concat());
        assert_eq!(rgb(photo!("rgba.webp")), [RED, WHITE, [161, 177, 241], [254; 3]].concat());
        assert_eq!(rgb(photo!("grey_alpha.png")), [[83; 3], WHITE, [179; 3], [254; 3]].concat());
    }

    #[test]
    fn one_bit_and_one_pixel_will_do() {
        let expected: Vec<u8> = [255, 0, 255, 0, 0, 255, 0, 255].iter().flat_map(|&grey: &u8| [grey; 3]).collect();
        assert_eq!(pixels(photo!("one_bit.png")).unwrap().rgb, expected);
        assert_eq!(pixels(photo!("one_pixel.png")).unwrap(), Pixels { width: 1, height: 1, rgb: RED.to_vec() });
    }

    /// If this test fails, stored features are of other pixels: raise [`DECODER_VERSION`], and replace the digest.
    #[test]
    fn the_pixels_of_a_version_never_change() {
        use sha2::{Digest, Sha256};
        let mut hasher = Sha256::new();
        for bytes in [
            photo!("exact_420.jpg"),
            photo!("exact_progressive.jpg"),
            photo!("grey.jpg"),
            photo!("orientation_6.jpg"),
            photo!("rgba.png"),
            photo!("grey16.png"),
            photo!("palette.bmp"),
            photo!("animated.gif"),
            photo!("lossy.webp"),
        ] {
            let pixels = pixels(bytes).unwrap();
            hasher.update(&pixels.rgb);
            pixels.resize(7, 9).iter().for_each(|value| hasher.update(value.to_le_bytes()));
        }
        let digest: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((DECODER_VERSION, &digest[..16]), (1, "0d2bc340f1ca700e"));
    }

    #[test]
    fn damage_never_panics() {
        for intact in [
            photo!("orientation_6.jpg"),
            photo!("palette.png"),
            photo!("animated.gif"),
            photo!("lossy.webp"),
            photo!("lzw.tif"),
        ] {
            for at in 0..intact.len() {
                let mut damaged = intact.to_vec();
                damaged[at] ^= 0x55;
                if let Ok(pixels) = pixels(&damaged) {
                    assert_eq!(pixels.rgb.len(), pixels.width * pixels.height * 3);
                }
            }
        }
    }

    #[test]
    fn too_many_pixels_are_refused_by_the_header() {
        let message = pixels(photo!("bomb.png")).unwrap_err().message;
        assert!(message.contains("at most 178956970 pixels, received 60000 x 60000"), "{message}");
    }

    #[test]
    fn the_memory_of_a_photo_is_known_by_its_header() {
        let needed = |format, bytes: &[u8], turn| {
            let decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().unwrap();
            peak_bytes(format, bytes, &decoder, turn) - bytes.len() as u64
        };
        let (pixels, upright, turned) = (16 * 32, Orientation::NoTransforms, Orientation::Rotate90);
        let jpeg = |bytes, turn| needed(ImageFormat::Jpeg, bytes, turn);
        assert_eq!(jpeg(photo!("orientation_1.jpg"), upright), 3 * pixels);
        assert_eq!(jpeg(photo!("orientation_1.jpg"), turned), 6 * pixels);
        // Coefficients of 16 bits.
        assert_eq!(jpeg(photo!("progressive.jpg"), upright), 9 * pixels);
        // One byte a pixel, RGBA and RGB.
        assert_eq!(jpeg(photo!("grey.jpg"), upright), 8 * pixels);
        assert_eq!(needed(ImageFormat::Bmp, photo!("photo.bmp"), upright), 3 * pixels);
        assert_eq!(needed(ImageFormat::WebP, photo!("lossy.webp"), upright), 7 * pixels);
    }

    #[test]
    fn the_error_says_what_came_instead_of_a_photo() {
        let message = |bytes| decode_bytes(bytes, "cat.jpg").unwrap_err().to_string();
        assert_eq!(message(b""), "cat.jpg: expected a photo, received an empty file");
        assert!(message(b"just a note").contains("JPEG, PNG, GIF, BMP, TIFF or WebP"));
        assert!(message(b"\0\0\0\x18ftypheic\0\0\0\0").contains("HEIC isn't read; convert it"));
    }

    #[test]
    fn damage_another_format_and_a_missing_file_are_told_apart() {
        use std::error::Error as _;
        let kind = |bytes| decode_bytes(bytes, "cat.jpg").unwrap_err().kind();
        assert_eq!(kind(b"just a note"), ErrorKind::InvalidData);
        assert_eq!(kind(b"\0\0\0\x18ftypheic\0\0\0\0"), ErrorKind::Unsupported);
        let cut = decode_bytes(&photo!("rgba.png")[..60], "cat.png").unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::InvalidData);
        let missing = decode(Path::new("no/such/photo.png")).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(missing.source().is_some_and(|source| source.is::<std::io::Error>()));
        assert_eq!(decode(&std::env::temp_dir()).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn a_file_error_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cat.png");
        assert_eq!(decode(&path).unwrap_err().to_string(), format!("{}: not found", path.display()));
        assert!(decode(folder.path()).unwrap_err().to_string().contains("received a folder"));
        // A JPEG named `.png` is read: the extension doesn't matter.
        std::fs::write(&path, photo!("orientation_1.jpg")).unwrap();
        assert_eq!(decode(&path).unwrap().width, 16);
    }
}
