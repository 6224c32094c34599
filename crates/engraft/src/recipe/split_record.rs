//! [`SplitRecord`]: which photos a model was trained on and which were held out, by content.

use crate::data::{Part, Photo};
use crate::{Error, ErrorKind, Result};

/// The first bytes of the entry in a `.keras` file: a signature and the version of the format.
const MAGIC: &[u8; 8] = b"ENSPLIT1";

/// Bytes before the digests: the magic, a byte for `is_partial`, and two counts.
const HEADER: usize = 8 + 1 + 2 * 8;

/// The largest entry that can be read back, 4 MiB ([`read_extra`](crate::formats::keras::read_extra)).
const MAX_BYTES: usize = 4 << 20;

/// Which photos a model was trained on and which were held out, by the first 8 bytes of their SHA-256.
///
/// A model file holds it in an entry `engraft.split`. When training goes on, the same photos stay held out though others are added; and
/// a measurement can tell how many of its photos the model has seen. Half a million photos fit; of more, nothing is recorded.
///
/// ```
/// use engraft::data::{Part, Photo};
/// use engraft::recipe::SplitRecord;
/// let photo = |digest| Photo { path: "1.jpg".into(), labels: vec![0], digest: [digest; 32] };
/// let record = SplitRecord::new(&[photo(1), photo(2)], &[photo(3)]);
/// assert_eq!(record.part(&[1; 32]), Some(Part::Training));
/// assert_eq!(record.part(&[3; 32]), Some(Part::Validation));
/// assert_eq!(record.part(&[4; 32]), None);
/// assert_eq!(SplitRecord::from_bytes(&record.to_bytes().ok_or("too many photos")?)?, record);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitRecord {
    /// Ascending.
    trained: Vec<u64>,
    /// Ascending, none of them in `trained`.
    held_out: Vec<u64>,
    is_partial: bool,
}

impl SplitRecord {
    /// The name of the entry in a `.keras` file.
    ///
    /// ```
    /// assert_eq!(engraft::recipe::SplitRecord::ENTRY, "engraft.split");
    /// ```
    pub const ENTRY: &'static str = "engraft.split";

    /// The record of a training run. A photo in both sets counts as trained on.
    pub fn new(training: &[Photo], held_out: &[Photo]) -> Self {
        Self::default().and(training, held_out)
    }

    /// The record of a model whose training went on from one without a record: it may have seen more photos than these.
    ///
    /// ```
    /// use engraft::recipe::SplitRecord;
    /// assert!(SplitRecord::partial().is_partial() && !SplitRecord::new(&[], &[]).is_partial());
    /// ```
    pub fn partial() -> Self {
        Self { is_partial: true, ..Self::default() }
    }

    /// Whether the model had been trained before the record began.
    pub fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// This record with another training run. Photos that were once trained on are never held out again.
    ///
    /// ```
    /// use engraft::data::{Part, Photo};
    /// use engraft::recipe::SplitRecord;
    /// let photo = |digest| Photo { path: "1.jpg".into(), labels: vec![0], digest: [digest; 32] };
    /// let record = SplitRecord::new(&[photo(1)], &[photo(2)]).and(&[photo(2)], &[photo(1), photo(3)]);
    /// assert_eq!([1, 2, 3].map(|digest| record.part(&[digest; 32])), [
    ///     Some(Part::Training),
    ///     Some(Part::Training),
    ///     Some(Part::Validation)
    /// ]);
    /// ```
    #[must_use]
    pub fn and(mut self, training: &[Photo], held_out: &[Photo]) -> Self {
        self.trained.extend(training.iter().map(|photo| key(&photo.digest)));
        self.held_out.extend(held_out.iter().map(|photo| key(&photo.digest)));
        for keys in [&mut self.trained, &mut self.held_out] {
            keys.sort_unstable();
            keys.dedup();
        }
        let trained = &self.trained;
        self.held_out.retain(|key| trained.binary_search(key).is_err());
        self
    }

    /// The part of the photo with this SHA-256; `None` if it took part in no recorded run.
    pub fn part(&self, digest: &[u8; 32]) -> Option<Part> {
        let is_in = |keys: &[u64]| keys.binary_search(&key(digest)).is_ok();
        match (is_in(&self.trained), is_in(&self.held_out)) {
            (true, _) => Some(Part::Training),
            (_, true) => Some(Part::Validation),
            _ => None,
        }
    }

    /// The content of the entry; `None` if there are too many photos for it.
    ///
    /// All numbers are little-endian: the magic `ENSPLIT1`; a byte, 1 if the record is partial; the numbers of photos trained on and
    /// held out, 8 bytes each; then the digests, 8 bytes each, ascending in each set.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(u8::from(self.is_partial));
        [&self.trained, &self.held_out].iter().for_each(|keys| bytes.extend((keys.len() as u64).to_le_bytes()));
        bytes.extend(self.trained.iter().chain(&self.held_out).flat_map(|key| key.to_le_bytes()));
        (bytes.len() <= MAX_BYTES).then_some(bytes)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// Another format or version; or digests that aren't as many as stated, in ascending order, and each in one set.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let wrong = |expected: &str, received: String| {
            Error::new(Self::ENTRY, expected, received).with_kind(ErrorKind::InvalidData)
        };
        let Some((header, digests)) = bytes.split_at_checked(HEADER) else {
            return Err(wrong("a header of 25 bytes", format!("{} bytes", bytes.len())));
        };
        if !header.starts_with(MAGIC) {
            let hint = "a newer engraft may have written this file: update this one";
            return Err(wrong("the record of a split, version 1", "another format".to_owned()).hint(hint));
        }
        let keys: Vec<u64> = digests.chunks_exact(8).map(number).collect();
        let (trained, held_out) = (number(&header[9..17]), number(&header[17..25]));
        if trained.checked_add(held_out).and_then(|sum| sum.checked_mul(8)) != Some(digests.len() as u64) {
            let expected = format!("{trained} and {held_out} digests of 8 bytes");
            return Err(wrong(&expected, format!("{} bytes", digests.len())));
        }
        let (trained, held_out) = keys.split_at(trained as usize);
        let is_ascending = |keys: &[u64]| keys.is_sorted_by(|one, other| one < other);
        let is_twice = held_out.iter().any(|key| trained.binary_search(key).is_ok());
        if !is_ascending(trained) || !is_ascending(held_out) || is_twice {
            return Err(wrong("digests in ascending order, each in one set", "another order".to_owned()));
        }
        Ok(Self { trained: trained.to_vec(), held_out: held_out.to_vec(), is_partial: header[8] != 0 })
    }
}

/// What is recorded of a digest. Two of a million photos have the same 8 bytes with a probability of 3 in 100 million.
fn key(digest: &[u8; 32]) -> u64 {
    number(&digest[..8])
}

/// The little-endian number in 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photo(digest: u8) -> Photo {
        Photo { path: "1.jpg".into(), labels: vec![0], digest: [digest; 32] }
    }

    #[test]
    fn what_is_written_reads_back() {
        for record in [
            SplitRecord::default(),
            SplitRecord::partial().and(&[photo(9), photo(200)], &[]),
            SplitRecord::new(&[photo(9), photo(1), photo(9)], &[photo(4), photo(3)]),
        ] {
            assert_eq!(SplitRecord::from_bytes(&record.to_bytes().unwrap()).unwrap(), record);
        }
    }

    #[test]
    fn damaged_records_are_refused_in_words() {
        let good = SplitRecord::new(&[photo(1), photo(2)], &[photo(3)]).to_bytes().unwrap();
        let error = |bytes: &[u8]| SplitRecord::from_bytes(bytes).unwrap_err().to_string();
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        assert!(error(b"").contains("engraft.split: expected a header of 25 bytes, received 0 bytes"));
        assert!(error(&with(7, b'2')).contains("version 1, received another format\nhint: a newer engraft"));
        assert!(error(&good[..good.len() - 1]).contains("2 and 1 digests of 8 bytes, received 23 bytes"));
        assert!(error(&with(16, 0xFF)).contains("digests of 8 bytes, received 24 bytes"), "no overflow");
        assert!(error(&with(25 + 7, 9)).contains("in ascending order"));
        let twice = [&good[..25 + 16], &good[25..25 + 8]].concat();
        assert!(error(&twice).contains("each in one set"));
    }

    #[test]
    fn a_record_that_could_not_be_read_back_is_not_written() {
        let record = |photos: u64| SplitRecord { trained: (0..photos).collect(), ..SplitRecord::default() };
        assert!(record(500_000).to_bytes().is_some());
        assert_eq!(record(600_000).to_bytes(), None);
    }
}
