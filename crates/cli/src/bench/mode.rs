//! The modes of `engraft bench`: prediction, or training with more or fewer layers frozen.

use std::fmt;
use std::str::FromStr;

use engraft::recipe::Freeze;
use engraft::train::Task;

/// The measured operation, written as `predict`, `frozen`, `fine-tune=N` or `full`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Predict,
    /// A training step with the base frozen.
    Frozen,
    /// A training step with this many layers of the base frozen, counted as in [`Freeze::First`].
    FineTune(usize),
    /// A training step with all layers trainable.
    Full,
}

impl Mode {
    pub(super) fn task(self) -> Task {
        if self == Self::Predict { Task::Predict } else { Task::Train }
    }

    pub(super) fn freeze(self) -> Freeze {
        match self {
            Self::Predict | Self::Frozen => Freeze::All,
            Self::FineTune(layers) => Freeze::First(layers),
            Self::Full => Freeze::None,
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let layers = text.strip_prefix("fine-tune=").and_then(|layers| layers.parse().ok());
        match (text, layers) {
            ("predict", _) => Ok(Self::Predict),
            ("frozen", _) => Ok(Self::Frozen),
            ("full", _) => Ok(Self::Full),
            (_, Some(layers)) => Ok(Self::FineTune(layers)),
            _ => Err("expected predict, frozen, fine-tune=N with a number of layers such as 15, or full".to_owned()),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Predict => f.write_str("predict"),
            Self::Frozen => f.write_str("frozen"),
            Self::FineTune(layers) => write!(f, "fine-tune={layers}"),
            Self::Full => f.write_str("full"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_as_they_are_written() {
        for mode in [Mode::Predict, Mode::Frozen, Mode::FineTune(15), Mode::Full] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!(
            ["", "train", "fine-tune", "fine-tune=", "fine-tune=-1"].iter().all(|text| text.parse::<Mode>().is_err())
        );
    }
}
