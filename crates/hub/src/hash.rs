//! [`Hash`]: the published hash of a weight file.

use std::fmt::{self, Write};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use md5::{Digest, Md5};
use sha2::Sha256;

/// The published hash of a file's content, in lower-case hexadecimal digits.
///
/// MD5 detects damage, but not a file that an attacker forged.
///
/// ```
/// use engraft_hub::Hash;
/// let hash = Hash::of_digits("f96b697d7cb7938d525a2f31aaf161d0").ok_or("no hash")?;
/// assert_eq!(hash, Hash::Md5("f96b697d7cb7938d525a2f31aaf161d0"));
/// assert_eq!(hash.to_string(), "MD5 f96b697d7cb7938d525a2f31aaf161d0");
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// MD5, 32 digits.
    Md5(&'static str),
    /// SHA-256, 64 digits.
    Sha256(&'static str),
}

impl Hash {
    /// The hash with these digits, whose number tells the kind, as in Keras' `get_file`; `None` for another number of digits.
    ///
    /// ```
    /// use engraft_hub::Hash;
    /// assert_eq!(Hash::of_digits(""), None);
    /// let digits = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    /// assert_eq!(Hash::of_digits(digits), Some(Hash::Sha256(digits)));
    /// ```
    pub const fn of_digits(digits: &'static str) -> Option<Self> {
        match digits.len() {
            32 => Some(Self::Md5(digits)),
            64 => Some(Self::Sha256(digits)),
            _ => None,
        }
    }

    /// The digits.
    pub const fn digits(self) -> &'static str {
        match self {
            Self::Md5(digits) | Self::Sha256(digits) => digits,
        }
    }

    /// The name of its kind: `MD5` or `SHA-256`.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Md5(_) => "MD5",
            Self::Sha256(_) => "SHA-256",
        }
    }

    /// The digits of the same kind of hash for the file at `path`.
    pub(crate) fn digits_of(self, path: &Path) -> io::Result<String> {
        match self {
            Self::Md5(_) => digits_of::<Md5>(path),
            Self::Sha256(_) => digits_of::<Sha256>(path),
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.digits())
    }
}

fn digits_of<D: Digest>(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = D::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    let mut digits = String::with_capacity(64);
    for byte in hash.finalize() {
        write!(digits, "{byte:02x}").expect("a String takes any text");
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors are from RFC 1321, appendix A.5, and FIPS 180-2, appendix B.1, with the hash of no bytes.
    #[test]
    fn hashes_as_the_standards_say() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for (content, expected) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(Hash::of_digits(expected).unwrap().digits_of(&path).unwrap(), expected);
        }
    }
}
