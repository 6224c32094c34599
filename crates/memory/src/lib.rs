//! Memory of the host: zeroed and huge pages for large arrays, and how much memory is available and used.
//!
//! Code that allocates large arrays (weights, activations, arrays read from files) asks for huge pages here. The runtime compares
//! the needs of a plan with the available memory, and the command line reports the peak. Memory of a GPU isn't covered.

mod available;
mod huge_pages;
mod zeroed;

pub use available::{available, peak};
pub use huge_pages::prefer_huge_pages;
pub use zeroed::zeroed;
