//! [`DType`]: the data type that a tensor has in Keras, which decides where Keras computes with integers.

use crate::{Error, ErrorKind, Result};

/// The data type of a tensor's elements in Keras (its `dtype`).
///
/// All values are computed as f32 here. They equal Keras' values until Keras rounds to an integer type or overflows it. The dtype tells
/// where: `keras.ops.image.resize` of a uint8 image rounds, and `x * 2` of uint8 wraps around.
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

    /// The type to which Keras converts numbers of several types, to combine them.
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

    /// The type of differences of numbers of these types, which wrap around in it.
    ///
    /// # Errors
    /// Integers of more than 16 bits that have no negative numbers: f32 doesn't have the numbers that they wrap around to.
    pub(crate) fn of_difference(types: &[Self]) -> Result<Self> {
        match Self::common(types) {
            long @ Self::Integer { signed: false, bits: 32 | 64 } => {
                Err(long.refused("which may wrap around in Keras"))
            }
            common => Ok(common),
        }
    }

    /// The type of products of numbers of these types, which wrap around in it.
    ///
    /// # Errors
    /// Products of small integers that f32 can't hold exactly: of 16 bits, or of more than three numbers of 8 bits.
    pub(crate) fn of_product(types: &[Self]) -> Result<Self> {
        match Self::common(types) {
            Self::Integer { bits: 8, .. } if types.len() <= 3 => Ok(Self::common(types)),
            _ => Self::of_arithmetic(types),
        }
    }

    /// The type of sums of products and of powers of numbers of these types.
    ///
    /// # Errors
    /// Integers of up to 16 bits, in which Keras' result may wrap around more often than f32 can hold.
    pub(crate) fn of_arithmetic(types: &[Self]) -> Result<Self> {
        match Self::common(types) {
            small @ Self::Integer { bits: 8 | 16, .. } => Err(small.refused("which may wrap around in Keras")),
            common => Ok(common),
        }
    }

    /// The type of a layer that computes floats of floats, but in integers where its inputs have integers.
    ///
    /// # Errors
    /// Integers of any size.
    pub(crate) fn of_normalization(types: &[Self]) -> Result<Self> {
        match Self::common(types) {
            integers @ Self::Integer { .. } => Err(integers.refused("with which Keras computes in integers")),
            _ => Ok(Self::Float),
        }
    }

    /// Whether this is a type of up to 16 bits whose range numbers of another type may leave.
    pub(crate) fn may_lack_numbers_of(self, from: Self) -> bool {
        let Self::Integer { bits: 8 | 16, .. } = self else { return false };
        match (self.range(), from.range()) {
            (Some([low, high]), Some([least, most])) => least < low || most > high,
            _ => from == Self::Float,
        }
    }

    pub(crate) fn refused(self, why: &str) -> Error {
        Error::new("inputs", "floats", format_args!("integers of type {self}, {why}"))
            .with_kind(ErrorKind::Unsupported)
            .hint("convert the pixels to float32 before: a cast in Python, or a Rescaling layer")
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
    fn arithmetic_that_f32_cannot_hold_is_refused() {
        let error = DType::of_arithmetic(&types(&["uint8", "uint8"])).unwrap_err().to_string();
        assert!(
            error.starts_with("inputs: expected floats, received integers of type uint8, which may wrap around"),
            "{error}"
        );
        assert!(DType::of_arithmetic(&types(&["int32", "uint8"])).is_ok());
        assert!(DType::of_difference(&types(&["int16", "uint8"])).is_ok());
        assert!(DType::of_difference(&types(&["uint32"])).is_err());
        assert!(DType::of_product(&types(&["uint8"; 3])).is_ok() && DType::of_product(&types(&["uint8"; 4])).is_err());
        assert!(DType::of_product(&types(&["int16"; 2])).is_err() && DType::of_product(&types(&["int32"; 2])).is_ok());
        assert!(DType::of_normalization(&types(&["int32"])).is_err());
        assert!(DType::of_normalization(&types(&["bool"])).is_ok());
    }

    #[test]
    fn a_type_may_lack_numbers_of_another() {
        for (from, into, expected) in [
            ("uint8", "int8", true),
            ("int8", "uint8", true),
            ("uint8", "int16", false),
            ("bool", "uint8", false),
            ("float32", "uint8", true),
            ("float32", "int32", false),
            ("uint8", "uint8", false),
        ] {
            let [from, into] = types(&[from, into])[..] else { unreachable!() };
            assert_eq!(into.may_lack_numbers_of(from), expected, "{from} to {into}");
        }
    }
}
