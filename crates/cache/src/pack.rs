//! The file format of a pack: a header, an index and the values of some entries of one network.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `ENGRFEA1` |
//! | 32 | key of the network |
//! | 4 | number of entries, little-endian as all numbers |
//! | 4 | number of values of each entry |
//! | 4 | CRC-32 of the header before it and of the index |
//! | 40 for each entry | digest of the photo, number of the variant, CRC-32 of both and of the values |
//! | 4 for each value | the values of the entries, in the order of the index |
//!
//! A CRC finds damage, not forgery: the folder belongs to the user, as the photos do.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crc32fast::Hasher;

use crate::Digest;

const MAGIC: &[u8; 8] = b"ENGRFEA1";
const HEADER: usize = 8 + 32 + 4 + 4 + 4;
const INDEX_ENTRY: usize = 32 + 4 + 4;

/// Bytes of entries that are collected before a pack is written. Packs are deleted as a whole, so small ones keep more.
const FULL: usize = 4 << 20;

/// Photo and variant of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EntryKey {
    pub(crate) photo: Digest,
    pub(crate) variant: u32,
}

impl EntryKey {
    /// CRC-32 of the key and the little-endian bytes of the values. With the key, values can't be taken for another photo's.
    fn checksum(&self, values: &[u8]) -> u32 {
        let mut hasher = Hasher::new();
        [&self.photo[..], &self.variant.to_le_bytes(), values].iter().for_each(|bytes| hasher.update(bytes));
        hasher.finalize()
    }
}

/// An entry in the index of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) key: EntryKey,
    checksum: u32,
    /// Position of the values in the file.
    offset: u64,
}

/// A pack in memory, to which entries are added until it is written.
#[derive(Debug, Default)]
pub(crate) struct PackBuilder {
    index: Vec<u8>,
    values: Vec<u8>,
    entries: u32,
}

impl PackBuilder {
    pub(crate) fn add(&mut self, key: EntryKey, values: &[f32]) {
        let start = self.values.len();
        self.values.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let checksum = key.checksum(&self.values[start..]);
        self.index.extend(key.photo);
        self.index.extend(key.variant.to_le_bytes());
        self.index.extend(checksum.to_le_bytes());
        self.entries += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Whether the pack is large enough to be written.
    pub(crate) fn is_full(&self) -> bool {
        self.index.len() + self.values.len() >= FULL
    }

    /// The parts of the file, one after the other: header and index, then the values.
    pub(crate) fn into_parts(self, network: &Digest, length: usize) -> [Vec<u8>; 2] {
        let mut head = Vec::with_capacity(HEADER + self.index.len());
        head.extend(MAGIC);
        head.extend(network);
        head.extend(self.entries.to_le_bytes());
        head.extend((length as u32).to_le_bytes());
        head.extend(head_checksum(&head, &self.index).to_le_bytes());
        head.extend(self.index);
        [head, self.values]
    }
}

fn head_checksum(header: &[u8], index: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(header);
    hasher.update(index);
    hasher.finalize()
}

/// Reads the index of the pack at `path`: the number of values of each entry, and the entries. `None` if it isn't a whole pack
/// of `network`.
pub(crate) fn read_index(path: &Path, network: &Digest) -> Option<(usize, Vec<IndexEntry>)> {
    let mut file = File::open(path).ok()?;
    let mut header = [0; HEADER];
    file.read_exact(&mut header).ok()?;
    let number = |at: usize| header[at..at + 4].try_into().ok().map(u32::from_le_bytes);
    let (entries, length, checksum) = (number(40)? as usize, number(44)? as usize, number(48)?);
    // A pack is written as soon as it is full, so that a longer index is no index of ours. Nothing larger is allocated.
    let index_bytes = entries.checked_mul(INDEX_ENTRY).filter(|&bytes| bytes < FULL + INDEX_ENTRY)?;
    let expected = (entries as u64).checked_mul(4 * length as u64)?.checked_add((HEADER + index_bytes) as u64)?;
    if &header[..8] != MAGIC || &header[8..40] != network || file.metadata().ok()?.len() != expected {
        return None;
    }
    let mut index = vec![0; index_bytes];
    file.read_exact(&mut index).ok()?;
    if head_checksum(&header[..HEADER - 4], &index) != checksum {
        return None;
    }
    let first = (HEADER + index_bytes) as u64;
    let entry = |(position, bytes): (usize, &[u8])| {
        let number = |at: usize| bytes[at..at + 4].try_into().ok().map(u32::from_le_bytes);
        let key = EntryKey { photo: bytes[..32].try_into().ok()?, variant: number(32)? };
        Some(IndexEntry { key, checksum: number(36)?, offset: first + 4 * position as u64 * length as u64 })
    };
    let entries = index.chunks_exact(INDEX_ENTRY).enumerate().map(entry).collect::<Option<Vec<_>>>()?;
    Some((length, entries))
}

/// Reads the values of an entry from the pack at `path`. Returns whether they are intact; `values` is undefined if not.
pub(crate) fn read_values(path: &Path, entry: &IndexEntry, values: &mut [f32]) -> bool {
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(values);
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(entry.offset))?;
        file.read_exact(bytes)
    });
    let intact = read.is_ok() && entry.key.checksum(bytes) == entry.checksum;
    if cfg!(target_endian = "big") {
        values.iter_mut().for_each(|value| *value = f32::from_bits(value.to_bits().swap_bytes()));
    }
    intact
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const NETWORK: Digest = [9; 32];

    fn key(photo: u8) -> EntryKey {
        EntryKey { photo: [photo; 32], variant: u32::from(photo) % 3 }
    }

    fn pack(length: usize, photos: u8) -> Vec<u8> {
        let mut pack = PackBuilder::default();
        (0..photos).for_each(|photo| pack.add(key(photo), &vec![f32::from(photo) + 0.25; length]));
        pack.into_parts(&NETWORK, length).concat()
    }

    #[test]
    fn entries_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pack");
        for (length, photos) in [(3, 4), (1, 1), (0, 2), (700, 9)] {
            fs::write(&path, pack(length, photos)).unwrap();
            let (found, index) = read_index(&path, &NETWORK).unwrap();
            assert_eq!((found, index.len()), (length, usize::from(photos)));
            for (photo, entry) in index.iter().enumerate() {
                let mut values = vec![0.0; length];
                assert!(read_values(&path, entry, &mut values));
                assert_eq!((entry.key, values), (key(photo as u8), vec![photo as f32 + 0.25; length]));
            }
        }
        assert!(read_index(&path, &[8; 32]).is_none(), "a pack of another network");
    }

    #[test]
    fn each_damaged_byte_and_each_cut_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pack");
        let whole = pack(3, 2);
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&path, damaged).unwrap();
            let index = read_index(&path, &NETWORK).map(|(_, index)| index).unwrap_or_default();
            let intact = index.iter().filter(|entry| read_values(&path, entry, &mut [0.0; 3])).count();
            let values_start = whole.len() - 2 * 3 * 4;
            assert_eq!(intact, usize::from(at >= values_start), "byte {at}");

            fs::write(&path, &whole[..at]).unwrap();
            assert!(read_index(&path, &NETWORK).is_none(), "{at} bytes");
        }
    }

    #[test]
    fn a_header_that_promises_too_much_allocates_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pack");
        for (entries, length) in [(u32::MAX, u32::MAX), (u32::MAX, 0), (1, u32::MAX)] {
            let mut bytes = pack(3, 2);
            bytes[40..44].copy_from_slice(&entries.to_le_bytes());
            bytes[44..48].copy_from_slice(&length.to_le_bytes());
            fs::write(&path, &bytes).unwrap();
            assert!(read_index(&path, &NETWORK).is_none());
            // A sparse file of the promised length.
            let promised = u64::from(entries).saturating_mul(40 + 4 * u64::from(length)).saturating_add(HEADER as u64);
            let sparse = File::options().write(true).open(&path).unwrap().set_len(promised);
            assert!(sparse.is_err() || read_index(&path, &NETWORK).is_none());
        }
    }
}
