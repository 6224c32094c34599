//! What can go wrong when a model is described, planned or run.

use std::fmt;

/// Result of describing, planning or running a model.
pub type Result<T> = std::result::Result<T, Error>;

/// An error that names the place, what was expected there, what was received and what to do next.
///
/// ```
/// use engraft_nn::Error;
/// let error = Error::new("layer `dense`", "2 dimensions", "[8, 8, 512]").hint("add Flatten before it");
/// assert_eq!(error.to_string(), "layer `dense`: expected 2 dimensions, received [8, 8, 512]\nhint: add Flatten before it");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    place: String,
    problem: String,
    hint: Option<String>,
}

impl Error {
    /// `place: expected …, received …`.
    pub fn new(place: impl fmt::Display, expected: impl fmt::Display, received: impl fmt::Display) -> Self {
        Self::because(place, format_args!("expected {expected}, received {received}"))
    }

    /// `place: problem`, where expected and received would not make a sentence.
    pub fn because(place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self { place: plain(place), problem: plain(problem), hint: None }
    }

    /// Adds what to do next, shown on a line of its own.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(plain(hint));
        self
    }

    /// Puts an outer place before this error's own: ``model `vgg16`, layer `dense`: …``.
    #[must_use]
    pub fn within(mut self, outer: impl fmt::Display) -> Self {
        self.place = plain(format_args!("{outer}, {}", self.place));
        self
    }
}

/// The longest part of a message, in characters. What files hold is quoted in messages, and may be megabytes.
const MAX_LEN: usize = 2000;

/// Text of a length to be read, without characters that control a terminal.
fn plain(text: impl fmt::Display) -> String {
    let text = text.to_string();
    let odd = |character: char| character.is_control() && character != '\n';
    if text.len() <= MAX_LEN && !text.contains(odd) {
        return text;
    }
    let mut plain: String =
        text.chars().take(MAX_LEN).map(|character| if odd(character) { '\u{fffd}' } else { character }).collect();
    if text.chars().nth(MAX_LEN).is_some() {
        plain.push('…');
    }
    plain
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// As displayed: what `fn main() -> Result<()>` prints is for people.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_holds_neither_floods_nor_controls_a_terminal() {
        let error = Error::new("layer `\u{1b}[2Jx`", "a\nname", "é".repeat(100_000)).within("y\r").hint("z\u{7}");
        let text = error.to_string();
        assert!(text.starts_with("y\u{fffd}, layer `\u{fffd}[2Jx`: expected a\nname, received ééé"), "{text}");
        assert!(text.ends_with("é…\nhint: z\u{fffd}"), "{text}");
        assert_eq!(
            text.chars().filter(|&character| character == 'é').count(),
            MAX_LEN - "expected a\nname, received ".len()
        );
    }
}
