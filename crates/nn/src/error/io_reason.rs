//! [`io_reason`]: the reason of an I/O error in words.

use std::error::Error as StdError;
use std::io;

/// The reason of an I/O error in words, such as `the disk is full`, without the numbers and names of the system.
///
/// Errors that libraries wrapped are unwrapped as far as an error of the system is found. Other errors keep their text.
///
/// ```
/// use engraft_nn::io_reason;
/// let error = std::fs::read("no/such/file").unwrap_err();
/// assert_eq!(io_reason(&error), "no such file or folder");
/// assert_eq!(io_reason(&std::io::Error::other("checksum differs")), "checksum differs");
/// ```
pub fn io_reason(error: &io::Error) -> String {
    use io::ErrorKind::{
        FileTooLarge, IsADirectory, NotADirectory, NotFound, OutOfMemory, PermissionDenied, QuotaExceeded,
        ReadOnlyFilesystem, StorageFull,
    };
    let system = system_error(error).unwrap_or(error);
    let words = match system.kind() {
        NotFound => "no such file or folder",
        PermissionDenied => "no permission",
        IsADirectory => "it is a folder",
        NotADirectory => "a part of its path is a file, not a folder",
        StorageFull => "the disk is full",
        QuotaExceeded => "the quota of disk space is used up",
        FileTooLarge => "the file would be larger than allowed here",
        ReadOnlyFilesystem => "the disk is read-only",
        OutOfMemory => "out of memory",
        _ => return without_number(&error.to_string()),
    };
    words.to_owned()
}

/// The error of the system itself, or a bare kind, in the chain of sources of `error`.
fn system_error(error: &io::Error) -> Option<&io::Error> {
    if error.get_ref().is_none() {
        return Some(error);
    }
    let mut inner: Option<&(dyn StdError + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(error) = inner {
        if let Some(found) = error.downcast_ref::<io::Error>().and_then(system_error) {
            return Some(found);
        }
        inner = error.source();
    }
    None
}

/// The text of an error of the system without its number: `Text file busy`, not `Text file busy (os error 26)`.
fn without_number(text: &str) -> String {
    match text.split_once(" (os error ") {
        Some((before, after)) => format!("{before}{}", after.split_once(')').map_or("", |(_, rest)| rest)),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Wrapped(io::Error);

    impl std::fmt::Display for Wrapped {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "cannot write HDF5: {}", self.0)
        }
    }

    impl StdError for Wrapped {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn an_error_of_the_system_is_found_below_others() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        for error in [full(), io::Error::other(full()), io::Error::other(Wrapped(io::Error::other(full())))] {
            assert_eq!(io_reason(&error), "the disk is full");
        }
        let other = io::Error::other(Wrapped(io::Error::other("damaged")));
        assert_eq!(io_reason(&other), "cannot write HDF5: damaged");
    }

    #[test]
    fn no_number_of_the_system_is_left() {
        assert_eq!(without_number("Text file busy (os error 26); later"), "Text file busy; later");
        for code in [1, 2, 5, 13, 20, 21, 26, 27, 28, 30, 122] {
            let reason = io_reason(&io::Error::from_raw_os_error(code));
            assert!(!reason.contains("os error"), "{reason}");
        }
    }
}
