//! Protobuf messages field by field, as they lie in memory: nothing is copied, nothing recurses.

use super::OnnxError;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Content<'a> {
    /// A number of variable length.
    Number(u64),
    /// A message, a text, a list of numbers, or a number of four or eight bytes.
    Bytes(&'a [u8]),
}

/// The fields of a message by their numbers, in the file's order. After an error there are no more.
pub(super) struct Fields<'a>(&'a [u8]);

/// Walks over a message.
pub(super) fn fields(message: &[u8]) -> Fields<'_> {
    Fields(message)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Content<'a>), OnnxError>;

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

fn field<'a>(message: &mut &'a [u8]) -> Result<(u32, Content<'a>), OnnxError> {
    let key = varint(message)?;
    let malformed = || OnnxError::Field { field: key >> 3 };
    let number = u32::try_from(key >> 3).map_err(|_| malformed())?;
    let len = match key & 7 {
        0 => return Ok((number, Content::Number(varint(message)?))),
        1 => 8,
        2 => usize::try_from(varint(message)?).map_err(|_| malformed())?,
        5 => 4,
        // Groups, which nest, were given up before ONNX began.
        _ => return Err(malformed()),
    };
    message.split_off(..len).map(|bytes| (number, Content::Bytes(bytes))).ok_or_else(malformed)
}

/// A list of numbers of variable length, packed together.
pub(super) fn packed(mut bytes: &[u8]) -> impl Iterator<Item = Result<u64, OnnxError>> {
    std::iter::from_fn(move || (!bytes.is_empty()).then(|| varint(&mut bytes).inspect_err(|_| bytes = &[])))
}

/// Takes an integer, seven bits a byte, off the front.
fn varint(bytes: &mut &[u8]) -> Result<u64, OnnxError> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(OnnxError::Number)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(OnnxError::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_field() {
        let message = [0x08, 0x96, 0x01, 0x12, 2, 7, 8, 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8];
        let found: Vec<_> = fields(&message).map(Result::unwrap).collect();
        let expected = [
            (1, Content::Number(150)),
            (2, Content::Bytes(&[7, 8])),
            (3, Content::Bytes(&[1, 2, 3, 4])),
            (4, Content::Bytes(&[1, 2, 3, 4, 5, 6, 7, 8])),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_error_is_the_last_item() {
        for message in [&[0x08][..], &[0x12, 5, 1], &[0x0b, 0x0c], &[0xff; 12], &[0x1d, 1]] {
            let found: Vec<_> = fields(message).collect();
            assert!(matches!(found[..], [Err(_)]), "{message:x?}: {found:?}");
        }
        let found: Vec<_> = packed(&[1, 0x80]).collect();
        assert!(matches!(found[..], [Ok(1), Err(_)]), "{found:?}");
    }

    #[test]
    fn the_largest_number() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(packed(&bytes).collect::<Result<Vec<_>, _>>().unwrap(), [u64::MAX]);
    }
}
