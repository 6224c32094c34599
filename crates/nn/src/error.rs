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
        Self { place: place.to_string(), problem: problem.to_string(), hint: None }
    }

    /// Adds what to do next, shown on a line of its own.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Puts an outer place before this error's own: ``model `vgg16`, layer `dense`: …``.
    #[must_use]
    pub fn within(mut self, outer: impl fmt::Display) -> Self {
        self.place = format!("{outer}, {}", self.place);
        self
    }
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
