//! [`Memory`]: the bytes that a plan needs, and how they are printed.

use std::fmt;

/// The memory that a plan needs while it runs, in bytes, by use.
///
/// ```
/// use engraft_plan::Memory;
/// let memory = Memory { weights: 3 << 20, buffers: 1 << 20, ..Memory::default() };
/// assert_eq!(memory.to_string(), "4.0 MiB (weights 3.0 MiB, activations and gradients 1.0 MiB)");
/// assert_eq!((memory.total(), memory.total_readable()), (4 << 20, "4.0 MiB".to_owned()));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The model's weights.
    pub weights: usize,
    /// The optimizer's state, such as moments.
    pub optimizer: usize,
    /// Activations, gradients, weight gradients, and copies of inputs for folded updates.
    pub buffers: usize,
    /// Two input batches: the next one is loaded while the current one is computed.
    pub inputs: usize,
    /// Outputs of frozen layers for all samples, computed once to train on. Not part of a plan: 0 unless a caller sets it.
    pub features: usize,
    /// The executor's working space, such as packed panels and cached transformed filters.
    pub scratch: usize,
}

impl Memory {
    /// The sum of all parts.
    pub fn total(&self) -> usize {
        self.weights + self.optimizer + self.buffers + self.inputs + self.features + self.scratch
    }

    /// The sum of all parts as text, such as `1.5 GiB`.
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
            ("input batches", self.inputs),
            ("features", self.features),
            ("working space", self.scratch),
        ];
        let parts: Vec<String> =
            parts.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {}", readable(*n))).collect();
        write!(f, "{} ({})", readable(self.total()), parts.join(", "))
    }
}

/// A number of bytes as text, in the largest unit that fits: `1.5 GiB`, `12.0 MiB`, `3.0 KiB`, `17 B`.
fn readable(bytes: usize) -> String {
    let units = [("GiB", 1usize << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", bytes as f64 / *size as f64),
        None => format!("{bytes} B"),
    }
}
