//! MD5 of files: Keras publishes the MD5 of its weight files.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use md5::{Digest, Md5};

/// The MD5 of the file at `path`, 32 lower-case hexadecimal digits.
pub(crate) fn md5_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Md5::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    let mut digits = String::with_capacity(32);
    for byte in hash.finalize() {
        write!(digits, "{byte:02x}").expect("a String takes any text");
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors are from RFC 1321, appendix A.5.
    #[test]
    fn hashes_as_the_rfc_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for (content, expected) in
            [("", "d41d8cd98f00b204e9800998ecf8427e"), ("message digest", "f96b697d7cb7938d525a2f31aaf161d0")]
        {
            std::fs::write(&path, content).unwrap();
            assert_eq!(md5_of(&path).unwrap(), expected);
        }
    }
}
