//! What a plan takes to run.

use std::fmt;

/// Bytes a plan needs while it runs, by what they are for.
///
/// ```
/// use engraft_plan::Memory;
/// let memory = Memory { weights: 3 << 20, buffers: 1 << 20, ..Memory::default() };
/// assert_eq!(memory.to_string(), "4.0 MiB (weights 3.0 MiB, activations and gradients 1.0 MiB)");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The model's weights.
    pub weights: usize,
    /// The optimizer's state.
    pub optimizer: usize,
    /// Activations, gradients and weight gradients.
    pub buffers: usize,
    /// Batches of photos: one in use, one being read.
    pub photos: usize,
    /// The executor's working space.
    pub scratch: usize,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> usize {
        self.weights + self.optimizer + self.buffers + self.photos + self.scratch
    }

    /// All of it, as people read it: `1.5 GiB`.
    pub fn total_readable(&self) -> String {
        readable(self.total())
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("weights", self.weights),
            ("optimizer", self.optimizer),
            ("activations and gradients", self.buffers),
            ("photos", self.photos),
            ("working space", self.scratch),
        ];
        let parts: Vec<String> =
            parts.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {}", readable(*n))).collect();
        write!(f, "{} ({})", readable(self.total()), parts.join(", "))
    }
}

/// `1.5 GiB`, `12.0 MiB`, `3.0 KiB`, `17 B`.
fn readable(bytes: usize) -> String {
    let units = [("GiB", 1usize << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", bytes as f64 / *size as f64),
        None => format!("{bytes} B"),
    }
}
