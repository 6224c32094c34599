//! The buffers of a session, allocated once.

use engraft_memory::prefer_huge_pages;
use engraft_nn::{Error, ErrorKind, Result};
use engraft_plan::Slot;

/// Buffers by slot. One can be taken out to be written while others are read.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Vec<Vec<f32>>);

impl Buffers {
    /// Zeroed buffers of these lengths; an error where the system has no room for them.
    pub(crate) fn new(lengths: &[usize]) -> Result<Self> {
        lengths.iter().map(|&length| zeroed(length)).collect::<Result<_>>().map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, slot: Slot) -> &[f32] {
        &self.0[slot]
    }

    /// Takes a buffer out, to be [put back](Self::put_back); while it is out the slot reads as empty.
    pub(crate) fn take(&mut self, slot: Slot) -> Vec<f32> {
        std::mem::take(&mut self.0[slot])
    }

    pub(crate) fn put_back(&mut self, slot: Slot, buffer: Vec<f32>) {
        self.0[slot] = buffer;
    }
}

/// Zeros, or an error instead of the abort that an ordinary allocation ends in.
pub(crate) fn zeroed(length: usize) -> Result<Vec<f32>> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(length).map_err(|error| {
        Error::because("memory", format_args!("no room for a buffer of {} MiB", (4 * length) >> 20))
            .with_kind(ErrorKind::OutOfMemory)
            .caused_by(error)
            .hint("use a smaller batch, smaller images or a smaller head")
    })?;
    prefer_huge_pages(&mut buffer);
    buffer.resize(length, 0.0);
    Ok(buffer)
}
