//! A plan in the making: what the passes read and decide.

use engraft_ir::ValueId;
use engraft_nn::{Head, Program};

use crate::passes::RowStream;
use crate::purpose::Purpose;

/// A program and what the passes have decided of it so far.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) program: Program,
    pub(crate) purpose: Purpose,
    pub(crate) batch: usize,
    /// The function that was split off the end of the program.
    pub(crate) head: Head,
    /// By step, whether the backward pass goes through it.
    pub(crate) differentiated: Vec<bool>,
    /// By step, whether the update of its kernel is made as the gradient is computed.
    pub(crate) folded: Vec<bool>,
    /// Steps at the front that run `chunk` samples at a time.
    pub(crate) prefix: usize,
    pub(crate) chunk: usize,
    /// By step, how it hands its outputs to the next, if a few rows at a time.
    pub(crate) streams: Vec<Option<RowStream>>,
    /// By value, whether it is recomputed for the backward pass instead of kept.
    pub(crate) rematerialized: Vec<bool>,
}

impl Draft {
    pub(crate) fn new(program: Program, purpose: Purpose, batch: usize) -> Self {
        let (steps, values) = (program.steps.len(), program.shapes.len());
        Self {
            program,
            purpose,
            batch,
            head: Head::None,
            differentiated: vec![false; steps],
            folded: vec![false; steps],
            prefix: 0,
            chunk: batch,
            streams: vec![None; steps],
            rematerialized: vec![false; values],
        }
    }

    /// The values that the caller reads: outputs and others that were asked for.
    pub(crate) fn read_by_caller(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.program.outputs.iter().chain(self.purpose.wanted_values()).copied()
    }

    /// How often each value is read, by a step or by the caller.
    pub(crate) fn readers(&self) -> Vec<usize> {
        let mut readers = vec![0; self.program.shapes.len()];
        let by_steps = self.program.steps.iter().flat_map(|step| &step.inputs).copied();
        by_steps.chain(self.read_by_caller()).for_each(|value| readers[value] += 1);
        readers
    }
}
