//! Memory of the host: large buffers, and how much there is.
//!
//! Whoever holds large arrays here (weights, activations, arrays read from files) asks for huge pages; whoever plans what to hold
//! asks how much there is. Nothing in this crate knows what the arrays mean.

mod available;
mod huge_pages;

pub use available::{available, peak};
pub use huge_pages::prefer_huge_pages;
