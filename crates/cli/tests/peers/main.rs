//! Interoperability: other programs read engraft's files, and engraft reads theirs. `cargo xtask peers` installs the programs.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod arrays;
mod dtypes;
mod exported;
mod keras;
mod networks;
mod onnx;
mod photos;
mod python;
mod pytorch;
#[path = "../support/mod.rs"]
mod support;
mod tables;
mod torchvision;
mod trained;
