//! Iterates over the fields of encoded protobuf messages, without copies and without recursion; encodes the prefix of a field.
//!
//! This module handles the large parts of ONNX files, so that the tensors are not copied while a file is parsed. `prost` handles
//! the small parts.

use super::error::OnnxError;

/// The encoded value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum FieldValue<'a> {
    /// An integer of wire type VARINT.
    Varint(u64),
    /// The bytes of any other wire type: of a nested message, string or packed list, or of a 4- or 8-byte number.
    Bytes(&'a [u8]),
}

/// An iterator over a message's fields: field number and value, in the file's order. It ends after an error.
pub(super) struct Fields<'a>(&'a [u8]);

/// Iterates over the fields of an encoded message.
pub(super) fn fields(message: &[u8]) -> Fields<'_> {
    Fields(message)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, FieldValue<'a>), OnnxError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let mut rest = std::mem::take(&mut self.0);
        let field = field(&mut rest);
        if field.is_ok() {
            self.0 = rest;
        }
        Some(field)
    }
}

/// Takes one field off the front of `message`.
fn field<'a>(message: &mut &'a [u8]) -> Result<(u32, FieldValue<'a>), OnnxError> {
    let key = varint(message)?;
    let malformed = || OnnxError::Field { field: key >> 3 };
    let number = u32::try_from(key >> 3).map_err(|_| malformed())?;
    let len = match key & 7 {
        0 => return Ok((number, FieldValue::Varint(varint(message)?))),
        1 => 8,
        2 => usize::try_from(varint(message)?).map_err(|_| malformed())?,
        5 => 4,
        // Groups (wire types 3 and 4) are deprecated, and ONNX never had any.
        _ => return Err(malformed()),
    };
    message.split_off(..len).map(|bytes| (number, FieldValue::Bytes(bytes))).ok_or_else(malformed)
}

/// The integers of a packed list of varints. The iterator ends after an error.
pub(super) fn packed_varints(mut bytes: &[u8]) -> impl Iterator<Item = Result<u64, OnnxError>> {
    std::iter::from_fn(move || (!bytes.is_empty()).then(|| varint(&mut bytes).inspect_err(|_| bytes = &[])))
}

/// Takes a varint off the front of `bytes`: seven bits per byte, the lowest first.
fn varint(bytes: &mut &[u8]) -> Result<u64, OnnxError> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(OnnxError::Varint)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(OnnxError::Varint)
}

/// The encoded tag and length of a length-delimited field with field number `number` and `len` bytes.
pub(super) fn field_prefix(number: u32, len: usize) -> Vec<u8> {
    const LENGTH_DELIMITED: usize = 2;
    let mut prefix = Vec::new();
    for value in [(number as usize) << 3 | LENGTH_DELIMITED, len] {
        prost::encode_length_delimiter(value, &mut prefix).expect("a vector grows as needed");
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_field() {
        let message = [0x08, 0x96, 0x01, 0x12, 2, 7, 8, 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8];
        let found: Vec<_> = fields(&message).map(Result::unwrap).collect();
        let expected = [
            (1, FieldValue::Varint(150)),
            (2, FieldValue::Bytes(&[7, 8])),
            (3, FieldValue::Bytes(&[1, 2, 3, 4])),
            (4, FieldValue::Bytes(&[1, 2, 3, 4, 5, 6, 7, 8])),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_prefix_is_read_back() {
        let message = [field_prefix(20, 300), vec![7; 300]].concat();
        let found: Vec<_> = fields(&message).map(Result::unwrap).collect();
        assert_eq!(found, [(20, FieldValue::Bytes(&[7; 300]))]);
    }

    #[test]
    fn an_error_is_the_last_item() {
        for message in [&[0x08][..], &[0x12, 5, 1], &[0x0b, 0x0c], &[0xff; 12], &[0x1d, 1]] {
            let found: Vec<_> = fields(message).collect();
            assert!(matches!(found[..], [Err(_)]), "{message:x?}: {found:?}");
        }
        let found: Vec<_> = packed_varints(&[1, 0x80]).collect();
        assert!(matches!(found[..], [Ok(1), Err(_)]), "{found:?}");
    }

    #[test]
    fn the_largest_number() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(packed_varints(&bytes).collect::<Result<Vec<_>, _>>().unwrap(), [u64::MAX]);
    }
}
