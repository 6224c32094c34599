//! [`Budget`]: how much fine-tuning after a linear probe may cost.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::{Error, Result};

/// How much fine-tuning after a [`LinearProbe`](super::super::LinearProbe) may cost, with its trials. As text: `10x`, `90s`, `5m`, `1h`
/// or `0`.
///
/// ```
/// use std::time::Duration;
/// use engraft::recipe::Budget;
/// assert_eq!("10x".parse(), Ok(Budget::Features(10.0)));
/// assert_eq!("5m".parse(), Ok(Budget::Time(Duration::from_secs(300))));
/// assert_eq!("0".parse(), Ok(Budget::Features(0.0)));
/// assert_eq!(Budget::default(), Budget::Features(6.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// So many times the multiply-accumulates of the features of all training photos. Results don't depend on the machine.
    Features(f64),
    /// About so much time on this machine, from the end of the linear probe. Results depend on the speed of the machine.
    Time(Duration),
}

impl Budget {
    /// A time of so many seconds, rounded up.
    pub(super) fn seconds(seconds: f64) -> Self {
        Self::Time(Duration::from_secs_f64(seconds.ceil().min(LONGEST)))
    }
}

/// A century in seconds is as good as no limit.
const LONGEST: f64 = 3.2e9;

impl Default for Budget {
    /// Six times the multiply-accumulates of the features. That is enough from about 3200 photos on.
    fn default() -> Self {
        Self::Features(6.0)
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Features(multiple) if *multiple == 0.0 => f.write_str("0"),
            Self::Features(multiple) => write!(f, "{multiple}x"),
            Self::Time(time) => write!(f, "{}s", time.as_secs_f64()),
        }
    }
}

impl FromStr for Budget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let error = || Error::new("budget", "a time such as 90s, 5m or 1h, a multiple such as 10x, or 0", text);
        let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
        let number: f64 = number.trim().parse().map_err(|_| error())?;
        let seconds = |seconds: f64| Self::Time(Duration::from_secs_f64((seconds * number).min(LONGEST)));
        if !(number.is_finite() && number >= 0.0) {
            return Err(error());
        }
        match unit {
            "x" => Ok(Self::Features(number)),
            "" if number == 0.0 => Ok(Self::Features(0.0)),
            "s" => Ok(seconds(1.0)),
            "m" | "min" => Ok(seconds(60.0)),
            "h" => Ok(seconds(3600.0)),
            _ => Err(error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_reads_back() {
        for budget in ["0", "2.5x", "90s", "0.5s"] {
            assert_eq!(budget.parse::<Budget>().unwrap().to_string(), budget);
        }
        assert_eq!("1.5 h".parse(), Ok(Budget::Time(Duration::from_secs(5400))));
        assert_eq!("2min".parse(), "120s".parse::<Budget>());
    }

    #[test]
    fn other_text_is_an_error() {
        for text in ["", "60", "-1s", "x", "1d", "nanx", "infs", "1e999s", "s60", "5 mm"] {
            let error = text.parse::<Budget>().unwrap_err().to_string();
            assert!(error.contains("expected a time such as 90s, 5m or 1h, a multiple such as 10x, or 0"), "{error}");
        }
    }
}
