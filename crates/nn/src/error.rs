//! [`Error`], [`ErrorKind`] and [`Result`], which all crates of the workspace return.

mod io_reason;
mod kind;

use std::sync::Arc;
use std::{fmt, io};

pub use self::io_reason::io_reason;
pub use self::kind::ErrorKind;

/// The error that caused another one, shared by clones.
type Source = Arc<dyn std::error::Error + Send + Sync>;

/// Result of an operation that can fail with an [`Error`].
///
/// ```
/// use engraft_nn::prelude::*;
/// fn classifier(classes: usize) -> engraft_nn::Result<Model> {
///     Sequential::new().add(Input::new([4])).add(Dense::new(classes)).build()
/// }
/// assert_eq!(classifier(3)?.output_shape(), &[3]);
/// assert!(classifier(0).is_err());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub type Result<T> = std::result::Result<T, Error>;

/// An error that says where it occurred, what was expected, what was received and what to do next.
///
/// ```
/// use engraft_nn::Error;
/// let error = Error::new("layer `dense`", "2 dimensions", "[8, 8, 512]").hint("add Flatten before it");
/// assert_eq!(error.to_string(), "layer `dense`: expected 2 dimensions, received [8, 8, 512]\nhint: add Flatten before it");
/// ```
///
/// The message is for people. Programs read the [`kind`](Self::kind), to choose a status code or an exception class, and the
/// [`source`](std::error::Error::source), the error of the system or of a library that caused this one.
#[derive(Clone)]
pub struct Error {
    place: String,
    problem: String,
    hint: Option<String>,
    kind: ErrorKind,
    source: Option<Source>,
}

impl Error {
    /// An error `place: expected …, received …` of the kind [`ErrorKind::InvalidArgument`].
    pub fn new(place: impl fmt::Display, expected: impl fmt::Display, received: impl fmt::Display) -> Self {
        Self::because(place, format_args!("expected {expected}, received {received}"))
    }

    /// An error `place: problem` of the kind [`ErrorKind::InvalidArgument`].
    ///
    /// For problems that "expected …, received …" can't express.
    ///
    /// ```
    /// use engraft_nn::Error;
    /// assert_eq!(Error::because("model.keras", "damaged").to_string(), "model.keras: damaged");
    /// ```
    pub fn because(place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        let kind = ErrorKind::InvalidArgument;
        Self { place: sanitize(place), problem: sanitize(problem), hint: None, kind, source: None }
    }

    /// An error `place: source` caused by an error of a library, which becomes the [`source`](std::error::Error::source).
    ///
    /// ```
    /// use engraft_nn::{Error, ErrorKind};
    /// let json = serde_json::from_str::<Vec<f32>>("[1, ").unwrap_err();
    /// let error = Error::from_source("config.json", json).with_kind(ErrorKind::InvalidData);
    /// assert!(error.to_string().starts_with("config.json: EOF while parsing"));
    /// ```
    pub fn from_source(place: impl fmt::Display, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::because(place, &source).caused_by(source)
    }

    /// An error `place: reason` caused by an I/O error, which determines the [kind](Self::kind). The reason is [`io_reason`]'s.
    ///
    /// ```
    /// use engraft_nn::{Error, ErrorKind};
    /// let error = std::fs::read("no/such/file").map_err(|error| Error::from_io("weights", error)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotFound);
    /// ```
    pub fn from_io(place: impl fmt::Display, source: io::Error) -> Self {
        let kind = source.kind().into();
        Self::because(place, io_reason(&source)).with_kind(kind).caused_by(source)
    }

    /// The kind of the error, for programs to act on.
    ///
    /// ```
    /// use engraft_nn::{Error, ErrorKind};
    /// assert_eq!(Error::new("batch size", "at least 1", 0).kind(), ErrorKind::InvalidArgument);
    /// ```
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Sets the kind of the error.
    ///
    /// ```
    /// use engraft_nn::{Error, ErrorKind};
    /// let error = Error::because("layer `x`", "this class is not known").with_kind(ErrorKind::Unsupported);
    /// assert_eq!(error.kind(), ErrorKind::Unsupported);
    /// ```
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Turns [`ErrorKind::InvalidArgument`] into [`ErrorKind::InvalidData`]; other kinds stay.
    ///
    /// For file readers: a layer that they build reports a bad value as an argument, but the value comes from the file.
    ///
    /// ```
    /// use engraft_nn::{Error, ErrorKind};
    /// let read = |kind| Error::because("config.json", "units: expected at least 1").with_kind(kind).into_invalid_data();
    /// assert_eq!(read(ErrorKind::InvalidArgument).kind(), ErrorKind::InvalidData);
    /// assert_eq!(read(ErrorKind::Unsupported).kind(), ErrorKind::Unsupported);
    /// ```
    #[must_use]
    pub fn into_invalid_data(self) -> Self {
        match self.kind {
            ErrorKind::InvalidArgument => self.with_kind(ErrorKind::InvalidData),
            _ => self,
        }
    }

    /// Sets the [`source`](std::error::Error::source) of this error and keeps its message.
    ///
    /// ```
    /// use engraft_nn::Error;
    /// use std::error::Error as _;
    /// let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    /// let error = Error::because("model.keras", "the disk is full").caused_by(full);
    /// assert!(error.source().is_some_and(|source| source.is::<std::io::Error>()));
    /// ```
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// Adds a hint on what to do next, shown on a separate line.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(sanitize(hint));
        self
    }

    /// Prepends an enclosing place to the error's place: ``model `vgg16`, layer `dense`: …``.
    ///
    /// ```
    /// use engraft_nn::Error;
    /// let error = Error::new("units", "at least 1", 0).within("layer `top`");
    /// assert_eq!(error.to_string(), "layer `top`, units: expected at least 1, received 0");
    /// ```
    #[must_use]
    pub fn within(mut self, outer: impl fmt::Display) -> Self {
        self.place = sanitize(format_args!("{outer}, {}", self.place));
        self
    }
}

/// Maximum length of each part of a message, in characters. Messages quote text from files, which can be megabytes long.
const MAX_LEN: usize = 2000;

/// Truncates text to [`MAX_LEN`] characters and replaces control characters except line breaks: they could control a terminal.
fn sanitize(text: impl fmt::Display) -> String {
    let text = text.to_string();
    let forbidden = |character: char| character.is_control() && character != '\n';
    if text.len() <= MAX_LEN && !text.contains(forbidden) {
        return text;
    }
    let replace = |character: char| if forbidden(character) { '\u{fffd}' } else { character };
    let mut sanitized: String = text.chars().take(MAX_LEN).map(replace).collect();
    if text.chars().nth(MAX_LEN).is_some() {
        sanitized.push('…');
    }
    sanitized
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

/// The same as `Display`: `fn main() -> Result<()>` prints an error by `Debug`, and people read it.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Compares message and kind, but not the source: sources can't be compared.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        let Self { place, problem, hint, kind, source: _ } = self;
        (place, problem, hint, kind) == (&other.place, &other.problem, &other.hint, &other.kind)
    }
}

impl Eq for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_a_file_neither_floods_nor_controls_a_terminal() {
        let error = Error::new("layer `\u{1b}[2Jx`", "a\nname", "é".repeat(100_000)).within("y\r").hint("z\u{7}");
        let text = error.to_string();
        assert!(text.starts_with("y\u{fffd}, layer `\u{fffd}[2Jx`: expected a\nname, received ééé"), "{text}");
        assert!(text.ends_with("é…\nhint: z\u{fffd}"), "{text}");
        assert_eq!(
            text.chars().filter(|&character| character == 'é').count(),
            MAX_LEN - "expected a\nname, received ".len()
        );
    }

    #[test]
    fn kind_and_source_stay_where_a_place_or_a_hint_is_added() {
        use std::error::Error as _;
        let missing = || Error::from_io("weights", io::ErrorKind::NotFound.into());
        let error = missing().within("model `m`").hint("check the path").clone();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>()).unwrap();
        assert_eq!(source.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().starts_with("model `m`, weights: no such file or folder\nhint: "), "{error}");
    }

    #[test]
    fn equality_asks_for_message_and_kind_but_not_for_the_source() {
        let plain = Error::because("file", "damaged");
        assert_eq!(plain, plain.clone().caused_by(fmt::Error));
        assert_ne!(plain, plain.clone().with_kind(ErrorKind::Io));
        assert_ne!(plain, plain.clone().hint("copy it again"));
    }

    #[test]
    fn a_reader_blames_the_file_for_arguments_alone() {
        for (kind, expected) in [
            (ErrorKind::InvalidArgument, ErrorKind::InvalidData),
            (ErrorKind::Unsupported, ErrorKind::Unsupported),
            (ErrorKind::NotFound, ErrorKind::NotFound),
        ] {
            assert_eq!(Error::because("file", "bad").with_kind(kind).into_invalid_data().kind(), expected);
        }
    }
}
