//! Augmentation settings, their text form (`flip,rotate=0.1,zoom=0.2`), and their Keras layers.

use std::fmt;
use std::str::FromStr;

use crate::prelude::*;
use crate::{Error, Result};

/// One random transformation of a photo.
///
/// ```
/// use engraft::recipe::{Augment, Augmentation};
/// let rotate: Augmentation = "rotate=0.1".parse()?;
/// assert_eq!(rotate, Augmentation::Rotate(0.1));
/// assert_eq!(Augment(vec![Augmentation::Flip, rotate]).to_string(), "flip,rotate=0.1");
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Augmentation {
    /// Mirrors left and right with a probability of one half (Keras' `RandomFlip("horizontal")`).
    Flip,
    /// Rotates by at most this fraction of a full turn, in either direction (Keras' `RandomRotation`). Above 0, at most 1.
    Rotate(f32),
    /// Zooms in or out by at most this fraction (Keras' `RandomZoom`). Above 0, at most 1.
    Zoom(f32),
}

/// Augmentation: random transformations in order, applied in training only. As text: `flip,rotate=0.1,zoom=0.2` or `none`.
///
/// ```
/// use engraft::recipe::{Augment, Augmentation};
/// let augment: Augment = "flip,zoom=0.2".parse()?;
/// assert_eq!(augment.0, [Augmentation::Flip, Augmentation::Zoom(0.2)]);
/// assert_eq!(augment.to_string(), "flip,zoom=0.2");
/// assert_eq!("none".parse::<Augment>()?, Augment::none());
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Augment(pub Vec<Augmentation>);

impl Default for Augment {
    /// `flip,rotate=0.1,zoom=0.2`: the layers of Keras' transfer learning guide, plus a zoom.
    fn default() -> Self {
        Self(vec![Augmentation::Flip, Augmentation::Rotate(0.1), Augmentation::Zoom(0.2)])
    }
}

impl Augment {
    /// No augmentation.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// The augmentation layers, or `None` without augmentation.
    pub(super) fn sequential(&self) -> Result<Option<Sequential>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let layers = self.0.iter().fold(Sequential::new(), |layers, augmentation| match *augmentation {
            Augmentation::Flip => layers.add(RandomFlip::horizontal()),
            Augmentation::Rotate(factor) => layers.add(RandomRotation::new(factor)),
            Augmentation::Zoom(factor) => layers.add(RandomZoom::new(factor)),
        });
        Ok(Some(layers))
    }
}

impl fmt::Display for Augmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flip => f.write_str("flip"),
            Self::Rotate(factor) => write!(f, "rotate={factor}"),
            Self::Zoom(factor) => write!(f, "zoom={factor}"),
        }
    }
}

impl fmt::Display for Augment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(Augmentation::to_string).collect();
        f.write_str(if parts.is_empty() { "none".into() } else { parts.join(",") }.as_str())
    }
}

impl FromStr for Augmentation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, factor) = text.split_once('=').unwrap_or((text, ""));
        let factor = || match factor.parse::<f32>() {
            Ok(factor) if factor > 0.0 && factor <= 1.0 => Ok(factor),
            _ => Err(Error::new(
                format_args!("augmentation `{name}`"),
                "a factor above 0 and up to 1",
                format_args!("`{factor}`"),
            )
            .hint(format_args!("write {name}=0.1, for example"))),
        };
        match (name, text) {
            (_, "flip") => Ok(Self::Flip),
            ("rotate", _) => Ok(Self::Rotate(factor()?)),
            ("zoom", _) => Ok(Self::Zoom(factor()?)),
            _ => Err(Error::new("augmentation", "flip, rotate=FACTOR, zoom=FACTOR or none", format_args!("`{text}`"))),
        }
    }
}

impl FromStr for Augment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Self::none()),
            list => list.split(',').map(|part| part.trim().parse()).collect::<Result<Vec<_>>>().map(Self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_in_its_order() {
        for text in ["flip,rotate=0.1,zoom=0.2", "zoom=1,flip", "none"] {
            assert_eq!(text.parse::<Augment>().unwrap().to_string(), text);
        }
        assert_eq!("flip, rotate=0.1, zoom=0.2".parse::<Augment>().unwrap(), Augment::default());
    }

    #[test]
    fn what_is_no_augmentation_says_what_would_be() {
        for (text, expected) in [
            ("flop", "expected flip, rotate=FACTOR, zoom=FACTOR or none, received `flop`"),
            ("", "received ``"),
            ("flip=1", "received `flip=1`"),
            ("flip,", "received ``"),
            ("none,flip", "received `none`"),
            ("rotate", "augmentation `rotate`: expected a factor above 0 and up to 1, received ``"),
            ("zoom=2", "received `2`"),
            ("zoom=nan", "received `nan`"),
            ("rotate=-0.1", "hint: write rotate=0.1"),
        ] {
            let error = text.parse::<Augment>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
