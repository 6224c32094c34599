//! Numbers as files store them, little-endian, converted to what weights are made of.

use std::fmt;

use engraft_nn::{Error, Result, Weight};
use half::{bf16, f16};

/// How numbers are stored; displayed as `F32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
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

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_uppercase())
    }
}

impl Number {
    /// Bytes that one takes.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// The nearest f32 of each number; what remains of bytes that don't fill one is left out.
    pub(crate) fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F16 => each(bytes, |number| f16::from_le_bytes(number).to_f32()),
            Self::Bf16 => each(bytes, |number| bf16::from_le_bytes(number).to_f32()),
            Self::F32 => each(bytes, f32::from_le_bytes),
            Self::F64 => each(bytes, |number| f64::from_le_bytes(number) as f32),
            Self::I8 => each(bytes, |number| i8::from_le_bytes(number).into()),
            Self::I16 => each(bytes, |number| i16::from_le_bytes(number).into()),
            Self::I32 => each(bytes, |number| i32::from_le_bytes(number) as f32),
            Self::I64 => each(bytes, |number| i64::from_le_bytes(number) as f32),
            Self::U8 => each(bytes, |number| u8::from_le_bytes(number).into()),
            Self::U16 => each(bytes, |number| u16::from_le_bytes(number).into()),
            Self::U32 => each(bytes, |number| u32::from_le_bytes(number) as f32),
            Self::U64 => each(bytes, |number| u64::from_le_bytes(number) as f32),
        }
    }
}

fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks();
    numbers.iter().map(|&bytes| number(bytes)).collect()
}

/// How exactly weights are written.
///
/// ```
/// use engraft_formats::Precision;
/// assert_eq!(Precision::default(), Precision::F32);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Kernels in IEEE 754 half precision: half the bytes, 11 significant bits, nothing beyond 65,504.
    /// Biases and statistics stay as they are: a small part of a file, and variances leave that range.
    F16,
}

impl Precision {
    /// What an array of this shape is written in.
    pub(crate) fn of(self, shape: &[usize]) -> Self {
        if shape.len() > 1 { self } else { Self::F32 }
    }

    /// An error that names the first of these weights that can't be written so.
    pub(crate) fn check(self, weights: &[Weight]) -> Result<()> {
        let beyond = |value: &&f32| value.is_finite() && f16::from_f32(**value).is_infinite();
        for weight in weights.iter().filter(|weight| self.of(weight.shape()) == Self::F16) {
            if let Some(value) = weight.values().iter().find(beyond) {
                let expected = format!("values of at most {} for f16", f16::MAX);
                return Err(
                    Error::new(format_args!("weight `{}`", weight.path()), expected, value).hint("write it in f32")
                );
            }
        }
        Ok(())
    }

    /// The nearest number of this precision, little-endian.
    pub(crate) fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_widened() {
        for (number, bytes, value) in [
            (Number::F16, &[0x00, 0xc0][..], -2.0),
            (Number::F16, &[0x01, 0x00], 5.960_464_5e-8),
            (Number::Bf16, &[0x80, 0x3f], 1.0),
            (Number::F32, &[0, 0, 0xc0, 0x3f], 1.5),
            (Number::F64, &[0, 0, 0, 0, 0, 0, 0xf8, 0x3f], 1.5),
            (Number::I8, &[0xff], -1.0),
            (Number::I16, &[0xfe, 0xff], -2.0),
            (Number::I32, &[0, 1, 0, 0], 256.0),
            (Number::I64, &[0xff; 8], -1.0),
            (Number::U8, &[0xff], 255.0),
            (Number::U16, &[0, 1], 256.0),
            (Number::U32, &[0xff; 4], 4_294_967_296.0),
            (Number::U64, &[1, 0, 0, 0, 0, 0, 0, 0], 1.0),
        ] {
            assert_eq!(bytes.len(), number.size(), "{number:?}");
            assert_eq!(number.to_f32(bytes), [value], "{number:?}");
        }
        assert!(Number::F16.to_f32(&[0x00, 0x7e]).iter().all(|value| value.is_nan()));
    }

    #[test]
    fn narrowing_takes_the_nearest() {
        let values = [1.0, 1.0004, 1.0006, 70_000.0];
        let narrowed = Number::F16.to_f32(&Precision::F16.bytes(&values));
        assert_eq!(narrowed, [1.0, 1.0, 1.000_976_6, f32::INFINITY]);
        assert_eq!(Number::F32.to_f32(&Precision::F32.bytes(&values)), values);
    }
}
