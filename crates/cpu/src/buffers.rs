//! The buffers of a session, one for each slot of the plan, allocated once.

use engraft_nn::{Error, ErrorKind, Result};
use engraft_plan::Slot;

/// Buffers by slot. A buffer is taken out while it is written, so that others can be read at the same time.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Vec<Vec<f32>>);

impl Buffers {
    /// Zeroed buffers of these lengths in f32.
    ///
    /// # Errors
    /// The system can't allocate them.
    pub(crate) fn new(lengths: &[usize]) -> Result<Self> {
        lengths.iter().map(|&length| zeroed(length)).collect::<Result<_>>().map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, slot: Slot) -> &[f32] {
        &self.0[slot]
    }

    /// Takes a buffer out. The slot reads as empty until [`restore`](Self::restore) puts the buffer back.
    pub(crate) fn take(&mut self, slot: Slot) -> Vec<f32> {
        std::mem::take(&mut self.0[slot])
    }

    /// Puts a buffer back into its slot after [`take`](Self::take).
    pub(crate) fn restore(&mut self, slot: Slot, buffer: Vec<f32>) {
        self.0[slot] = buffer;
    }
}

/// Allocates zeros in huge pages if possible. Unlike `vec![0.0; length]`, it returns an error instead of aborting the process.
pub(crate) fn zeroed(length: usize) -> Result<Vec<f32>> {
    engraft_memory::zeroed(length).ok_or_else(|| {
        Error::because("memory", format_args!("cannot allocate a buffer of {} MiB", length >> 18))
            .with_kind(ErrorKind::OutOfMemory)
            .hint("use a smaller batch, smaller images or a smaller head")
    })
}
