//! [`DType`]: the type of the numbers that Keras computes where a model's input has integers.

use crate::{Error, ErrorKind, Result};

/// The type of a tensor's numbers in Keras (its `dtype`).
///
/// All numbers are f32 here. They are Keras' numbers as long as no operation rounds to integers or leaves their range, so the type
/// says where that would happen: Keras' `Resizing` of a uint8 image rounds, and `x * 2` of uint8 wraps around.
///
/// ```
/// use engraft_nn::DType;
/// let pixels = DType::parse("uint8").unwrap();
/// assert_eq!((pixels.to_string(), pixels.range()), ("uint8".to_owned(), Some([0.0, 255.0])));
/// assert_eq!(DType::common(&[pixels, DType::parse("int8").unwrap()]).to_string(), "int16");
/// assert_eq!(DType::common(&[pixels, DType::Float]), DType::Float);
/// assert_eq!(DType::parse("string"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    /// Truth values, as 0 and 1.
    Bool,
    /// Integers of 8 to 64 bits.
    Integer {
        /// Whether negative numbers are among them.
        signed: bool,
        /// The number of bits.
        bits: u8,
    },
    /// Floating-point numbers of any type of Keras.
    Float,
}

impl DType {
    /// The type of this name, such as `uint8`; `None` if it isn't a type of numbers.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "bool" => return Some(Self::Bool),
            "float16" | "bfloat16" | "float32" | "float64" => return Some(Self::Float),
            _ => {}
        }
        let (signed, bits) = match name.strip_prefix("uint") {
            Some(bits) => (false, bits),
            None => (true, name.strip_prefix("int")?),
        };
        let bits = bits.parse().ok().filter(|bits| [8, 16, 32, 64].contains(bits))?;
        Some(Self::Integer { signed, bits })
    }

    /// Whether the numbers are integers other than truth values.
    pub fn is_integer(self) -> bool {
        matches!(self, Self::Integer { .. })
    }

    /// The smallest and the largest integer; `None` for other types.
    pub fn range(self) -> Option<[f32; 2]> {
        let Self::Integer { signed, bits } = self else { return None };
        let power = |exponent: u8| 2f32.powi(exponent.into());
        Some(if signed { [-power(bits - 1), power(bits - 1) - 1.0] } else { [0.0, power(bits) - 1.0] })
    }

    /// The type to which Keras converts numbers of several types, to combine them; a float for none.
    pub fn common(types: &[Self]) -> Self {
        types.iter().copied().reduce(Self::with).unwrap_or(Self::Float)
    }

    /// The common type of two types, the one of JAX that Keras takes: a signed and an unsigned type need more bits.
    fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Bool, other) | (other, Self::Bool) => other,
            (Self::Integer { signed, bits }, Self::Integer { signed: other, bits: others }) if signed == other => {
                Self::Integer { signed, bits: bits.max(others) }
            }
            (Self::Integer { signed: true, bits: signed }, Self::Integer { bits: unsigned, .. })
            | (Self::Integer { bits: unsigned, .. }, Self::Integer { bits: signed, .. }) => {
                match unsigned.saturating_mul(2).max(signed) {
                    bits @ ..=64 => Self::Integer { signed: true, bits },
                    _ => Self::Float,
                }
            }
            _ => Self::Float,
        }
    }

    /// The type of sums or products of numbers of these types.
    ///
    /// # Errors
    /// Integers of up to 16 bits, whose results may need more.
    pub(crate) fn of_arithmetic(types: &[Self]) -> Result<Self> {
        match Self::common(types) {
            small @ Self::Integer { bits: 8 | 16, .. } => Err(small.refused("which wrap around in Keras")),
            common => Ok(common),
        }
    }

    /// The type of differences of numbers of these types.
    ///
    /// # Errors
    /// Integers of up to 16 bits, and all that have no negative numbers.
    pub(crate) fn of_difference(types: &[Self]) -> Result<Self> {
        match Self::of_arithmetic(types)? {
            unsigned @ Self::Integer { signed: false, .. } => Err(unsigned.refused("which wrap around in Keras")),
            common => Ok(common),
        }
    }

    /// The type of what Keras computes with floats for floats, and with integers for integers, such as standard deviations.
    ///
    /// # Errors
    /// Integers of any size.
    pub(crate) fn of_floats(types: &[Self]) -> Result<Self> {
        match Self::common(types) {
            integers @ Self::Integer { .. } => Err(integers.refused("with which Keras computes in integers")),
            _ => Ok(Self::Float),
        }
    }

    fn refused(self, why: &str) -> Error {
        Error::new("inputs", "floats", format_args!("integers of type {self}, {why}"))
            .with_kind(ErrorKind::Unsupported)
            .hint("cast the pixels before, in Python: x = keras.ops.cast(x, \"float32\"), or a Rescaling layer")
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Integer { signed, bits } => write!(f, "{}int{bits}", if *signed { "" } else { "u" }),
            Self::Float => f.write_str("float"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(names: &[&str]) -> Vec<DType> {
        names.iter().map(|name| DType::parse(name).unwrap()).collect()
    }

    // keras.backend.result_type of Keras 3.15.
    #[test]
    fn common_types_are_those_of_keras() {
        for (names, expected) in [
            (["uint8", "int8"], "int16"),
            (["int8", "uint16"], "int32"),
            (["uint8", "int32"], "int32"),
            (["uint16", "uint8"], "uint16"),
            (["bool", "uint8"], "uint8"),
            (["bool", "bool"], "bool"),
            (["uint32", "int8"], "int64"),
            (["int32", "float16"], "float"),
        ] {
            let [a, b] = types(&names)[..] else { unreachable!() };
            assert_eq!(
                (DType::common(&[a, b]).to_string(), DType::common(&[b, a])),
                (expected.to_owned(), DType::common(&[a, b]))
            );
        }
    }

    #[test]
    fn ranges_are_those_of_the_bits() {
        let ranges: Vec<_> = types(&["uint8", "int8", "int16", "float32"]).into_iter().map(DType::range).collect();
        assert_eq!(ranges, [Some([0.0, 255.0]), Some([-128.0, 127.0]), Some([-32768.0, 32767.0]), None]);
        assert!(["uint7", "int", "int128", "float"].iter().all(|name| DType::parse(name).is_none()));
    }

    #[test]
    fn arithmetic_needs_more_bits_than_small_integers_have() {
        let error = DType::of_arithmetic(&types(&["uint8", "uint8"])).unwrap_err().to_string();
        assert!(
            error.starts_with("inputs: expected floats, received integers of type uint8, which wrap around"),
            "{error}"
        );
        assert!(DType::of_arithmetic(&types(&["int32", "uint8"])).is_ok());
        assert!(
            DType::of_arithmetic(&types(&["uint32"])).is_ok() && DType::of_difference(&types(&["uint32"])).is_err()
        );
        assert!(DType::of_floats(&types(&["int32"])).is_err() && DType::of_floats(&types(&["bool"])).is_ok());
    }
}
