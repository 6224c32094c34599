//! Element types of arrays in files (f32, i64, ...), and their conversion to f32, the type of weights in memory.
//!
//! Used by the readers of `.npy`, safetensors and ONNX, whose values are little-endian bytes. HDF5 describes its types
//! in another way: see `h5::datatype`. The types in which weights are written are [`FloatType`](crate::FloatType).

use std::fmt;

use half::{bf16, f16};

/// The element type of an array in a file. Displayed in upper case: `F32`, `BF16`, ….
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ElementType {
    F16,
    Bf16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_uppercase())
    }
}

impl ElementType {
    /// Bytes per element.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// Converts little-endian bytes to f32, rounding to nearest. An incomplete element at the end is ignored.
    pub(crate) fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F16 => convert(bytes, |element| f16::from_le_bytes(element).to_f32()),
            Self::Bf16 => convert(bytes, |element| bf16::from_le_bytes(element).to_f32()),
            Self::F32 => convert(bytes, f32::from_le_bytes),
            Self::F64 => convert(bytes, |element| f64::from_le_bytes(element) as f32),
            Self::I8 => convert(bytes, |element| i8::from_le_bytes(element).into()),
            Self::I16 => convert(bytes, |element| i16::from_le_bytes(element).into()),
            Self::I32 => convert(bytes, |element| i32::from_le_bytes(element) as f32),
            Self::I64 => convert(bytes, |element| i64::from_le_bytes(element) as f32),
            Self::U8 => convert(bytes, |element| u8::from_le_bytes(element).into()),
            Self::U16 => convert(bytes, |element| u16::from_le_bytes(element).into()),
            Self::U32 => convert(bytes, |element| u32::from_le_bytes(element) as f32),
            Self::U64 => convert(bytes, |element| u64::from_le_bytes(element) as f32),
        }
    }
}

fn convert<const N: usize>(bytes: &[u8], to_f32: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (elements, _) = bytes.as_chunks();
    elements.iter().map(|&element| to_f32(element)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_widened() {
        for (element_type, bytes, value) in [
            (ElementType::F16, &[0x00, 0xc0][..], -2.0),
            (ElementType::F16, &[0x01, 0x00], 5.960_464_5e-8),
            (ElementType::Bf16, &[0x80, 0x3f], 1.0),
            (ElementType::F32, &[0, 0, 0xc0, 0x3f], 1.5),
            (ElementType::F64, &[0, 0, 0, 0, 0, 0, 0xf8, 0x3f], 1.5),
            (ElementType::I8, &[0xff], -1.0),
            (ElementType::I16, &[0xfe, 0xff], -2.0),
            (ElementType::I32, &[0, 1, 0, 0], 256.0),
            (ElementType::I64, &[0xff; 8], -1.0),
            (ElementType::U8, &[0xff], 255.0),
            (ElementType::U16, &[0, 1], 256.0),
            (ElementType::U32, &[0xff; 4], 4_294_967_296.0),
            (ElementType::U64, &[1, 0, 0, 0, 0, 0, 0, 0], 1.0),
        ] {
            assert_eq!(bytes.len(), element_type.size(), "{element_type:?}");
            assert_eq!(element_type.to_f32(bytes), [value], "{element_type:?}");
        }
        assert!(ElementType::F16.to_f32(&[0x00, 0x7e]).iter().all(|value| value.is_nan()));
    }
}
