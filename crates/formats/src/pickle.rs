//! Detection of Python pickles, which PyTorch and others use for weights.
//!
//! Every reader refuses them with a clear message, since unpickling runs arbitrary code.

use std::io::{self, Read, Seek};

use engraft_nn::{Error, ErrorKind, Result};

/// The message for a refused pickle.
pub(crate) const REFUSED: &str = "a pickle (.pkl, .pt, .pth, .bin) is refused, since reading one runs the code that it names; \
     save the weights as .safetensors in the program that wrote them";

/// Whether the bytes at the start of a file are those of a pickle of protocol 2 to 5.
pub(crate) fn is_pickle(start: &[u8]) -> bool {
    matches!(start, [0x80, 2..=5, ..])
}

/// Returns an error if the file is a pickle. Rewinds the file.
pub(crate) fn refuse(file: &mut (impl Read + Seek)) -> Result<()> {
    match begins_as_pickle(file) {
        Ok(false) => Ok(()),
        Ok(true) => Err(error()),
        Err(error) => Err(Error::from_io("file", error)),
    }
}

/// Whether the file begins like a pickle. Rewinds the file.
pub(crate) fn begins_as_pickle(file: &mut (impl Read + Seek)) -> io::Result<bool> {
    let mut start = Vec::new();
    file.by_ref().take(2).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(is_pickle(&start))
}

/// The error for a pickle.
pub(crate) fn error() -> Error {
    Error::because("file", REFUSED).with_kind(ErrorKind::Unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pickle_is_told_by_its_beginning() {
        for (bytes, expected) in
            [(&b"\x80\x04K\x01."[..], true), (b"\x80\x02}q\0.", true), (b"\x89HDF", false), (b"", false)]
        {
            let mut file = io::Cursor::new(bytes);
            assert_eq!(refuse(&mut file).is_err(), expected);
            assert_eq!(file.position(), 0);
        }
    }
}
