//! Our files in the other programs, and theirs here. `cargo xtask peers` installs these.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod arrays;
mod exported;
mod keras;
mod onnx;
mod photos;
mod python;
#[path = "../support/mod.rs"]
mod support;
mod torchvision;
mod trained;
