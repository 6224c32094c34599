//! The limit on how many bytes a file may expand to in memory, against decompression bombs and false sizes.
//!
//! Used by the readers of zip archives and of HDF5.

/// The limit for small files, so that a small file of highly compressible values can be read.
const MIN_LIMIT: u64 = 64 << 20;

/// The highest ratio of bytes in memory to bytes of the file.
///
/// f16 values become f32 in memory, twice the bytes, and gzip shrinks trained weights by a fifth. The rest allows for runs of
/// zeros, such as fresh optimizer slots. Deflate can reach a ratio of 1032, which no model needs.
const MAX_RATIO: u64 = 16;

/// Bytes that the content of a file of `len` bytes may take in memory, all nested compression included.
pub(crate) fn limit(len: u64) -> u64 {
    len.saturating_mul(MAX_RATIO).max(MIN_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_file_has_the_lowest_limit() {
        assert_eq!(limit(100), MIN_LIMIT);
        assert_eq!(limit(1 << 30), 16 << 30);
        assert_eq!(limit(u64::MAX), u64::MAX);
    }
}
