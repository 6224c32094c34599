//! Recomputes checksums after a change, so that readers parse the changed bytes.

use std::ops::Range;

/// Signatures of HDF5 blocks that end in a checksum: superblock, object headers, heaps, B-trees, chunk arrays.
const SIGNATURES: [&[u8; 4]; 13] = [
    b"\x89HDF", b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"FHIB", b"BTHD", b"BTLF", b"BTIN", b"FAHD", b"FADB", b"EAHD",
    b"EAIB",
];

/// Maximum length of the blocks that [`protected`] finds.
const MAX_BLOCK: usize = 4096;

/// The ranges of a valid HDF5 file that are followed by their checksum.
#[must_use]
pub fn protected(file: &[u8]) -> Vec<Range<usize>> {
    let starts = (0..file.len()).filter(|&at| SIGNATURES.iter().any(|signature| file[at..].starts_with(*signature)));
    let block = |start: usize| {
        let ends = start + 8..file.len().min(start + MAX_BLOCK).saturating_sub(3);
        ends.map(|end| start..end).find(|range| checksum_at(file, range.end) == lookup3(&file[range.clone()]))
    };
    starts.filter_map(block).collect()
}

/// Recomputes and writes the checksums of these blocks.
pub fn protect(file: &mut [u8], blocks: &[Range<usize>]) {
    for block in blocks {
        let sum = lookup3(&file[block.clone()]);
        file[block.end..block.end + 4].copy_from_slice(&sum.to_le_bytes());
    }
}

fn checksum_at(file: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]])
}

/// Recomputes the checksum of each PNG chunk, up to the first chunk whose length exceeds the file.
pub(crate) fn protect_png(file: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = file.get(at..at + 4) {
        let length = length.iter().fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
        let (start, end) = (at + 4, at.saturating_add(8).saturating_add(length));
        if end + 4 > file.len() {
            return;
        }
        let mut sum = flate2::Crc::new();
        sum.update(&file[start..end]);
        file[end..end + 4].copy_from_slice(&sum.sum().to_be_bytes());
        at = end + 4;
    }
}

/// Recomputes the checksums of a pack of the feature cache: of its index, and of each entry that the file contains.
pub(crate) fn protect_pack(file: &mut [u8]) {
    const HEADER: usize = 52;
    const INDEX_ENTRY: usize = 40;
    if file.len() < HEADER {
        return;
    }
    let number = |file: &[u8], at: usize| checksum_at(file, at) as usize;
    let sum = |parts: [&[u8]; 2]| {
        let mut sum = flate2::Crc::new();
        parts.iter().for_each(|part| sum.update(part));
        sum.sum().to_le_bytes()
    };
    let (entries, length) = (number(file, 40), number(file, 44));
    let Some(index_end) = entries.checked_mul(INDEX_ENTRY).map(|bytes| bytes.saturating_add(HEADER)) else { return };
    if index_end > file.len() {
        return;
    }
    for entry in 0..entries {
        let at = HEADER + entry * INDEX_ENTRY;
        let start = entry.saturating_mul(length).saturating_mul(4).saturating_add(index_end);
        if let Some(values) = file.get(start..start.saturating_add(length.saturating_mul(4))) {
            let sum = sum([&file[at..at + 36], values]);
            file[at + 36..at + 40].copy_from_slice(&sum);
        }
    }
    let sum = sum([&file[..HEADER - 4], &file[HEADER..index_end]]);
    file[HEADER - 4..HEADER].copy_from_slice(&sum);
}

/// Bob Jenkins' hash `lookup3` with an initial value of 0, the checksum of HDF5.
fn lookup3(bytes: &[u8]) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    // The last block is mixed differently, even if it is full. An empty input isn't mixed at all.
    let full_blocks = bytes.len().saturating_sub(1) / 12;
    let (blocks, rest) = bytes.split_at(12 * full_blocks);
    let word = |block: &[u8], index: usize| {
        let mut word = [0; 4];
        let part = block.get(4 * index..).unwrap_or_default();
        let len = part.len().min(4);
        word[..len].copy_from_slice(&part[..len]);
        u32::from_le_bytes(word)
    };
    for block in blocks.chunks_exact(12) {
        a = a.wrapping_add(word(block, 0));
        b = b.wrapping_add(word(block, 1));
        c = c.wrapping_add(word(block, 2));
        for (rotation, [x, y, z]) in
            [4, 6, 8, 16, 19, 4].into_iter().zip([[0, 2, 1], [1, 0, 2], [2, 1, 0]].into_iter().cycle())
        {
            let mut words = [a, b, c];
            words[x] = words[x].wrapping_sub(words[y]) ^ words[y].rotate_left(rotation);
            words[y] = words[y].wrapping_add(words[z]);
            [a, b, c] = words;
        }
    }
    if rest.is_empty() {
        return c;
    }
    a = a.wrapping_add(word(rest, 0));
    b = b.wrapping_add(word(rest, 1));
    c = c.wrapping_add(word(rest, 2));
    for (rotation, [x, y]) in [14, 11, 25, 16, 4, 14, 24].into_iter().zip([[2, 1], [0, 2], [1, 0]].into_iter().cycle())
    {
        let mut words = [a, b, c];
        words[x] = (words[x] ^ words[y]).wrapping_sub(words[y].rotate_left(rotation));
        [a, b, c] = words;
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_jenkins() {
        // Test values from the comments of Jenkins' lookup3.c, for an initial value of 0.
        assert_eq!(lookup3(b""), 0xdead_beef);
        assert_eq!(lookup3(b"Four score and seven years ago"), 0x1777_0551);
    }
}
