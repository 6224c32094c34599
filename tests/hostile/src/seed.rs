//! Valid files, parsed so that mutations reach their contents.

use std::io::{Cursor, Read, Write};
use std::ops::Range;

use fastrand::Rng;
use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::{checksum, mutate};

/// A valid file to mutate. Every variant contains the file's bytes and the parts that are mutated separately.
#[derive(Debug)]
pub enum Seed {
    /// A file without known parts.
    Bytes(Vec<u8>),
    /// A JSON document.
    Json(Vec<u8>, Value),
    /// An HDF5 file, and the ranges of its blocks with checksums.
    Hdf5(Vec<u8>, Vec<Range<usize>>),
    /// A PNG file, whose chunks have checksums.
    Png(Vec<u8>),
    /// A pack of the feature cache, whose index and entries have checksums.
    Pack(Vec<u8>),
    /// A safetensors file, its header, and the bytes after the header.
    Safetensors(Vec<u8>, Value, Vec<u8>),
    /// A zip archive and its entries.
    Archive(Vec<u8>, Vec<(String, Seed)>),
}

impl Seed {
    /// Parses a valid file, by the format of its first bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        match bytes.as_slice() {
            [b'P', b'K', ..] => {
                let entries = entries(&bytes);
                Self::Archive(bytes, entries)
            }
            [0x89, b'H', b'D', b'F', ..] => {
                let blocks = checksum::protected(&bytes);
                Self::Hdf5(bytes, blocks)
            }
            [0x89, b'P', b'N', b'G', ..] => Self::Png(bytes),
            [b'E', b'N', b'G', b'R', b'F', b'E', b'A', ..] => Self::Pack(bytes),
            [b'{', ..] => match serde_json::from_slice(&bytes) {
                Ok(value) => Self::Json(bytes, value),
                Err(_) => Self::Bytes(bytes),
            },
            _ => Self::safetensors(&bytes).unwrap_or(Self::Bytes(bytes)),
        }
    }

    fn safetensors(bytes: &[u8]) -> Option<Self> {
        let size = u64::from_le_bytes(*bytes.first_chunk()?);
        let (header, values) = bytes[8..].split_at_checked(usize::try_from(size).ok()?)?;
        Some(Self::Safetensors(bytes.to_vec(), serde_json::from_slice(header).ok()?, values.to_vec()))
    }

    /// The unchanged file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let (Self::Bytes(bytes)
        | Self::Json(bytes, _)
        | Self::Hdf5(bytes, _)
        | Self::Png(bytes)
        | Self::Pack(bytes)
        | Self::Safetensors(bytes, ..)
        | Self::Archive(bytes, _)) = self;
        bytes
    }

    /// The file with random changes. Inserted pieces may come from `donor`, another file of the same format.
    #[must_use]
    pub fn mutated(&self, donor: &Self, rng: &mut Rng) -> Vec<u8> {
        let mut bytes = self.bytes().to_vec();
        match self {
            Self::Json(_, document) if rng.u8(..) < 220 => {
                let mut document = document.clone();
                mutate::json(&mut document, rng);
                return document.to_string().into_bytes();
            }
            Self::Hdf5(_, blocks) if rng.bool() => {
                (0..rng.usize(1..=3)).for_each(|_| mutate::in_place(&mut bytes, rng));
                checksum::protect(&mut bytes, blocks);
            }
            Self::Png(_) if rng.bool() => {
                (0..rng.usize(1..=3)).for_each(|_| mutate::in_place(&mut bytes, rng));
                checksum::protect_png(&mut bytes);
            }
            Self::Pack(_) if rng.bool() => {
                (0..rng.usize(1..=3)).for_each(|_| mutate::in_place(&mut bytes, rng));
                checksum::protect_pack(&mut bytes);
            }
            Self::Safetensors(_, header, values) if rng.bool() => {
                let mut header = header.clone();
                mutate::json(&mut header, rng);
                let header = header.to_string();
                return [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), values].concat();
            }
            Self::Archive(_, entries) if rng.u8(..) < 220 => return mutated_entry(entries, donor, rng),
            _ => mutate::bytes(&mut bytes, donor.bytes(), rng),
        }
        bytes
    }
}

/// An archive with one entry changed.
fn mutated_entry(entries: &[(String, Seed)], donor: &Seed, rng: &mut Rng) -> Vec<u8> {
    let changed = rng.usize(..entries.len());
    let donor = match donor {
        Seed::Archive(_, others) => others.get(changed).map_or(donor, |(_, other)| other),
        _ => donor,
    };
    let entries: Vec<(&str, Vec<u8>)> = entries
        .iter()
        .enumerate()
        .map(|(index, (name, seed))| {
            (name.as_str(), if index == changed { seed.mutated(donor, rng) } else { seed.bytes().to_vec() })
        })
        .collect();
    archive(&entries, CompressionMethod::Stored)
}

/// The bytes of a zip archive with these entries (name and content), compressed by `method`.
#[must_use]
pub fn archive(entries: &[(&str, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(*name, options).and_then(|()| Ok(zip.write_all(bytes)?)).expect("memory takes any entry");
    }
    zip.finish().expect("memory takes any archive").into_inner()
}

/// The entries of a valid archive.
fn entries(bytes: &[u8]) -> Vec<(String, Seed)> {
    let mut zip = ZipArchive::new(Cursor::new(bytes)).expect("a valid archive");
    (0..zip.len())
        .map(|index| {
            let mut entry = zip.by_index(index).expect("a valid archive");
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("a valid entry");
            (entry.name().expect("a name in UTF-8").into_owned(), Seed::new(bytes))
        })
        .collect()
}
