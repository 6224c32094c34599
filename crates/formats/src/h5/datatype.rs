//! HDF5 datatypes: their names, and the conversion of their values to f32 or i64.
//!
//! The element types of the other formats are in `element_type`.

use half::f16;
use hdf5_pure::{Dataset, Datatype, DatatypeByteOrder, FloatingPointLayout};

use super::H5Error;
use super::convert_error::convert_error;
use crate::element_type::ElementType;

/// The layout of IEEE 754 binary16. The size alone would not tell it from bfloat16.
const BINARY16: FloatingPointLayout = FloatingPointLayout {
    bit_offset: 0,
    bit_precision: 16,
    exponent_location: 10,
    exponent_size: 5,
    mantissa_location: 0,
    mantissa_size: 10,
    exponent_bias: 15,
};

/// The datatype in which f16 weights are written.
pub(super) fn binary16() -> Datatype {
    Datatype::FloatingPoint { size: 2, byte_order: DatatypeByteOrder::LittleEndian, layout: BINARY16 }
}

/// A short name of a datatype: `F32`, `I64`, …; for other types the HDF5 crate's description.
pub(super) fn name(datatype: &Datatype) -> String {
    // A file may declare any size in bytes up to `u32::MAX`, so the size in bits needs a u64.
    let bits = |size: u32| 8 * u64::from(size);
    match datatype {
        datatype if is_bfloat16(datatype) => "BF16".to_owned(),
        Datatype::FloatingPoint { size, .. } => format!("F{}", bits(*size)),
        Datatype::FixedPoint { size, .. } => format!("I{}", bits(*size)),
        other => other.to_string(),
    }
}

/// Whether a dataset's values are little-endian f32, which need no conversion on a little-endian machine.
pub(super) fn is_little_endian_f32(path: &str, dataset: &Dataset) -> Result<bool, H5Error> {
    let datatype = dataset.datatype().map_err(|error| convert_error(path, "dataset", error))?;
    Ok(matches!(
        datatype,
        Datatype::FloatingPoint {
            size: 4,
            layout: FloatingPointLayout::IEEE754_BINARY32,
            byte_order: DatatypeByteOrder::LittleEndian,
        }
    ))
}

/// Whether a datatype is the one in which Keras writes bfloat16: two opaque bytes, since HDF5 has no such type.
fn is_bfloat16(datatype: &Datatype) -> bool {
    matches!(datatype, Datatype::Opaque { size: 2, .. })
}

/// Reads the values of a numeric dataset, converted to f32.
pub(super) fn read_f32(path: &str, dataset: &Dataset) -> Result<Vec<f32>, H5Error> {
    let damaged = |error| convert_error(path, "dataset", error);
    match dataset.datatype().map_err(damaged)? {
        Datatype::FloatingPoint { size: 4, layout: FloatingPointLayout::IEEE754_BINARY32, .. }
        | Datatype::FloatingPoint { size: 8, layout: FloatingPointLayout::IEEE754_BINARY64, .. }
        | Datatype::FixedPoint { .. } => dataset.read_f32().map_err(damaged),
        Datatype::FloatingPoint { size: 2, layout: BINARY16, byte_order } => {
            Ok(decode_f16(&dataset.read_raw().map_err(damaged)?, &byte_order))
        }
        datatype if is_bfloat16(&datatype) => Ok(ElementType::Bf16.to_f32(&dataset.read_raw().map_err(damaged)?)),
        other => Err(H5Error::Type {
            path: path.to_owned(),
            expected: "integers or floats of 16, 32 or 64 bits",
            received: other.to_string(),
        }),
    }
}

/// Reads the values of an integer dataset, converted to i64.
pub(super) fn read_i64(path: &str, dataset: &Dataset) -> Result<Vec<i64>, H5Error> {
    let damaged = |error| convert_error(path, "dataset", error);
    match dataset.datatype().map_err(damaged)? {
        Datatype::FixedPoint { .. } => dataset.read_i64().map_err(damaged),
        other => Err(H5Error::Type { path: path.to_owned(), expected: "integers", received: other.to_string() }),
    }
}

fn decode_f16(bytes: &[u8], order: &DatatypeByteOrder) -> Vec<f32> {
    let bits = |pair: &[u8]| match order {
        DatatypeByteOrder::BigEndian => u16::from_be_bytes([pair[0], pair[1]]),
        _ => u16::from_le_bytes([pair[0], pair[1]]),
    };
    bytes.chunks_exact(2).map(|pair| f16::from_bits(bits(pair)).to_f32()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_of_any_size_has_a_word() {
        let float = |size| {
            name(&Datatype::FloatingPoint { size, byte_order: DatatypeByteOrder::LittleEndian, layout: BINARY16 })
        };
        assert_eq!([2, u32::MAX].map(float), ["F16", "F34359738360"]);
    }

    #[test]
    fn f16_bytes_follow_the_declared_order() {
        assert_eq!(decode_f16(&[0x00, 0x3c], &DatatypeByteOrder::LittleEndian), [1.0]);
        assert_eq!(decode_f16(&[0x3c, 0x00], &DatatypeByteOrder::BigEndian), [1.0]);
    }
}
