//! Every reader of files, called as a fuzzer calls it, and files to call it with.
//!
//! [`Reader::check`] gives bytes to a reader and holds it to what is promised of all of them: a value or an error that
//! fits a screen, no panic, no hang, no more memory than the file may ask for. The fuzzing targets in `fuzz/` are these calls; the
//! test `mutated` makes the same calls on stable Rust, with files that [`Seed`]s turn into.

mod checksum;
mod cost;
mod mutate;
mod reader;
mod seed;
mod valid;

pub use checksum::{protect, protected};
pub use cost::peak;
pub use reader::{READERS, Reader, reader};
pub use seed::{Seed, archive};
