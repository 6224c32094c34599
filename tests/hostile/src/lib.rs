//! Fuzzing of every file reader: entry points, seed files and mutations.
//!
//! [`Reader::check`] gives bytes to a reader and asserts the properties of all readers: a value or a short error message,
//! no panic, limited time, limited memory. The libFuzzer targets in `fuzz/` call it. The test `mutated` calls it on stable
//! Rust with mutated [`Seed`]s. Tests of known attacks are in `incidents/`.

mod checksum;
mod cost;
mod mutate;
mod reader;
mod seed;
mod valid;

pub use checksum::{protect, protected};
pub use cost::peak;
pub use reader::{READERS, Reader, cached_photos, reader};
pub use seed::{Seed, archive};
