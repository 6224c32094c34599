//! The header of a `.npy` file: a Python dictionary of type, axis order and shape.

use engraft_nn::{Error, ErrorKind, Result};

use super::PLACE;
use crate::element_type::ElementType;
use crate::pickle;

/// Limit on the bytes of a header, the same as in NumPy. A usual header takes 100 bytes.
const MAX_HEADER: usize = 10_000;

/// Alignment in bytes of the values in the file, as in NumPy.
const ALIGNMENT: usize = 64;

/// Element type, axis order and shape of an array in a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) element_type: ElementType,
    /// Whether the first axis varies fastest (column-major).
    pub(super) fortran_order: bool,
    pub(crate) shape: Vec<usize>,
}

impl Header {
    /// Parses the header of a file; also returns the bytes after it.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, &[u8])> {
        let (len, start) = match bytes {
            [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b, ..] => (u16::from_le_bytes([*a, *b]).into(), 10),
            [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, a, b, c, d, ..] => {
                (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 12)
            }
            _ if pickle::is_pickle(bytes) => return Err(pickle::error()),
            _ => return Err(not_npy("a file without the signature of version 1 to 3")),
        };
        if len > MAX_HEADER || bytes.len() - start < len {
            let received = format!("a header of {len} bytes in a file of {} (at most {MAX_HEADER})", bytes.len());
            return Err(not_npy(received));
        }
        let (text, values) = bytes[start..].split_at(len);
        let text = std::str::from_utf8(text).map_err(not_npy)?;
        Ok((Self::parse(text)?, values))
    }

    /// Bytes that the values take as f32; twice that in Fortran order, for the transpose.
    pub(super) fn bytes_as_f32(&self) -> u64 {
        let values = self.shape.iter().fold(1, |count: u64, &size| count.saturating_mul(size as u64));
        values.saturating_mul(if self.fortran_order { 8 } else { 4 })
    }

    /// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`; keys may be in any order.
    fn parse(text: &str) -> Result<Self> {
        let unexpected = || not_npy(format_args!("a header of {:.200}", text.trim_end()));
        let inside = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or_else(unexpected)?;
        let (mut element_type, mut fortran_order, mut shape) = (None, None, None);
        let mut rest = inside.trim();
        while !rest.is_empty() {
            let (key, value) = rest.split_once(':').ok_or_else(unexpected)?;
            let value = value.trim_start();
            let end = match value.strip_prefix('(') {
                Some(_) => value.find(')').ok_or_else(unexpected)? + 1,
                None => value.find(',').unwrap_or(value.len()),
            };
            let (value, after) = value.split_at(end);
            rest = after.trim_start().trim_start_matches(',').trim_start();
            match unquoted(key.trim()).ok_or_else(unexpected)? {
                "descr" => element_type = Some(parse_descr(value.trim())?),
                "fortran_order" => fortran_order = Some(boolean(value.trim()).ok_or_else(unexpected)?),
                "shape" => shape = Some(sizes(value).ok_or_else(unexpected)?),
                _ => return Err(unexpected()),
            }
        }
        match (element_type, fortran_order, shape) {
            (Some(element_type), Some(fortran_order), Some(shape)) => Ok(Self { element_type, fortran_order, shape }),
            _ => Err(unexpected()),
        }
    }
}

fn not_npy(received: impl std::fmt::Display) -> Error {
    Error::new(PLACE, "a .npy file", received)
}

fn unquoted(text: &str) -> Option<&str> {
    ['\'', '"'].iter().find_map(|&quote| text.strip_prefix(quote)?.strip_suffix(quote))
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}

/// Parses a tuple of sizes: `(2, 3)`, `(2,)`, `()`.
fn sizes(text: &str) -> Option<Vec<usize>> {
    let inside = text.strip_prefix('(')?.strip_suffix(')')?;
    let parts = inside.trim().trim_end_matches(',').split(',').map(str::trim);
    parts.filter(|part| !part.is_empty()).map(|part| part.parse().ok()).collect()
}

fn parse_descr(descr: &str) -> Result<ElementType> {
    match unquoted(descr).unwrap_or_default() {
        "<f2" => Ok(ElementType::F16),
        "<f4" => Ok(ElementType::F32),
        "<f8" => Ok(ElementType::F64),
        "|i1" => Ok(ElementType::I8),
        "<i2" => Ok(ElementType::I16),
        "<i4" => Ok(ElementType::I32),
        "<i8" => Ok(ElementType::I64),
        "|u1" | "|b1" => Ok(ElementType::U8),
        "<u2" => Ok(ElementType::U16),
        "<u4" => Ok(ElementType::U32),
        "<u8" => Ok(ElementType::U64),
        // Arrays of Python objects are pickled.
        "|O" => Err(Error::because(PLACE, pickle::REFUSED).with_kind(ErrorKind::Unsupported)),
        _ => Err(Error::new(PLACE, "integers or floats in little-endian order", format_args!("{descr:.100}"))
            .with_kind(ErrorKind::Unsupported)
            .hint("save it as array.astype(\"<f4\")")),
    }
}

/// The header of a row-major f32 array, the same bytes as NumPy writes.
pub(super) fn of_f32(shape: &[usize]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let sizes = if shape.len() == 1 { sizes.trim_end() } else { sizes.trim_end_matches(", ") };
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}), }}");
    let aligned = (10 + text.len() + 1).next_multiple_of(ALIGNMENT);
    text.extend(std::iter::repeat_n(' ', aligned - 10 - text.len() - 1));
    text.push('\n');
    // NumPy allows 64 axes at most, so the length is far below 64 KiB.
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [b"\x93NUMPY\x01\x00", &len.to_le_bytes()[..], text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Vec<u8> {
        [b"\x93NUMPY\x01\x00", &u16::try_from(text.len()).unwrap().to_le_bytes()[..], text.as_bytes()].concat()
    }

    #[test]
    fn what_is_written_is_numpys_and_reads_back() {
        for (shape, text) in [(&[][..], "()"), (&[3], "(3,)"), (&[2, 3], "(2, 3)")] {
            let header = of_f32(shape);
            assert!(header.len().is_multiple_of(ALIGNMENT) && header.ends_with(b"\n"));
            let expected = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {text}, }}");
            assert_eq!(std::str::from_utf8(&header[10..]).unwrap().trim_end(), expected);
            let expected = Header { element_type: ElementType::F32, fortran_order: false, shape: shape.to_vec() };
            assert_eq!(Header::read(&header).unwrap(), (expected, &[][..]));
        }
    }

    #[test]
    fn keys_come_in_any_order() {
        let header = with("{'shape':(1, 2),\"fortran_order\":True,'descr':'<i8'}");
        let expected = Header { element_type: ElementType::I64, fortran_order: true, shape: vec![1, 2] };
        assert_eq!(Header::read(&header).unwrap().0, expected);
    }

    #[test]
    fn what_is_no_array_of_numbers_is_refused() {
        let header = |descr: &str, shape: &str| {
            with(&format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"))
        };
        for (bytes, expected) in [
            (header("'>f4'", "(1,)"), "little-endian order, received '>f4'\nhint: "),
            (header("[('a', '<f4')]", "(1,)"), "integers or floats"),
            (header("'<f4'", "(-1,)"), "a header of {'descr'"),
            (header("'<f4'", "(99999999999999999999,)"), "a header of"),
            (header("'<f4'", "(1"), "a header of"),
            (with(&format!("{{'descr': {}", "(".repeat(9000))), "a header of"),
            (with("{}"), "a header of {}"),
            (with("{:}"), "a header of {:}"),
            (with("\u{fc}"), "a header of"),
            (b"\x93NUMPY\x01\x00\x01\x00\xff".to_vec(), "invalid utf-8"),
            (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), "a header of 4294967295 bytes"),
            (b"\x93NUMPY\x02\x00\xff\xff".to_vec(), "without the signature"),
            (Vec::new(), "without the signature"),
        ] {
            let error = Header::read(&bytes).unwrap_err().to_string();
            assert!(error.starts_with("array: expected ") && error.contains(expected), "{error}");
        }
    }
}
