//! [`AnnotatedProgram`]: a program and the decisions of the passes about it. Passes change it, liveness analysis reads it.

use engraft_ir::ValueId;
use engraft_nn::{OutputActivation, Program, Step};

use crate::passes::RowStream;
use crate::purpose::Purpose;

/// A program and what the passes have decided about it so far.
#[derive(Clone, Debug)]
pub(crate) struct AnnotatedProgram {
    pub(crate) program: Program,
    pub(crate) purpose: Purpose,
    pub(crate) batch: usize,
    /// The softmax or sigmoid that was split off the end of the program.
    pub(crate) output_activation: OutputActivation,
    /// By step, whether the backward pass goes through it.
    pub(crate) differentiated: Vec<bool>,
    /// By step, whether its kernel is updated while the gradient is computed.
    pub(crate) folded: Vec<bool>,
    /// The number of steps in the prefix: the first steps, which run `chunk` samples at a time.
    pub(crate) prefix: usize,
    pub(crate) chunk: usize,
    /// By step, how it streams its outputs to the next step; `None` if it writes them in full.
    pub(crate) streams: Vec<Option<RowStream>>,
    /// By value, whether it is recomputed for the backward pass instead of being kept.
    pub(crate) rematerialized: Vec<bool>,
}

impl AnnotatedProgram {
    pub(crate) fn new(program: Program, purpose: Purpose, batch: usize) -> Self {
        let (steps, values) = (program.steps.len(), program.shapes.len());
        Self {
            program,
            purpose,
            batch,
            output_activation: OutputActivation::None,
            differentiated: vec![false; steps],
            folded: vec![false; steps],
            prefix: 0,
            chunk: batch,
            streams: vec![None; steps],
            rematerialized: vec![false; values],
        }
    }

    /// Replaces the steps. For passes that run before any step is annotated.
    pub(crate) fn set_steps(&mut self, steps: Vec<Step>) {
        self.differentiated.truncate(steps.len());
        self.folded.truncate(steps.len());
        self.streams.truncate(steps.len());
        self.program.steps = steps;
    }

    /// Merges steps into the steps before them.
    ///
    /// `merge` gets each pair of neighbouring steps whose second reads only the first's output, which nothing else reads. It also
    /// gets whether the backward pass goes through either of them. It merges the second into the first and returns true, or
    /// changes nothing and returns false.
    pub(crate) fn merge_steps(&mut self, merge: impl Fn(&Program, &mut Step, &Step, bool) -> bool) {
        let readers = self.readers();
        let steps = std::mem::take(&mut self.program.steps);
        let (mut merged, mut kept): (Vec<Step>, Vec<usize>) = Default::default();
        for (index, step) in steps.into_iter().enumerate() {
            let merges = merged.last_mut().is_some_and(|last| {
                let is_only_reader = step.inputs == [last.output] && readers[last.output] == 1;
                is_only_reader && merge(&self.program, last, &step, self.differentiated[index])
            });
            match merged.last_mut().filter(|_| merges) {
                Some(last) => {
                    last.output = step.output;
                    if last.layer != step.layer {
                        last.layer = format!("{}, {}", last.layer, step.layer);
                    }
                }
                None => {
                    merged.push(step);
                    kept.push(index);
                }
            }
        }
        self.program.steps = merged;
        self.differentiated = kept.iter().map(|&index| self.differentiated[index]).collect();
        self.folded = kept.iter().map(|&index| self.folded[index]).collect();
        self.streams = kept.iter().map(|&index| self.streams[index]).collect();
    }

    /// The values that the caller reads: the outputs, and values requested with their gradients.
    pub(crate) fn read_by_caller(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.program.outputs.iter().chain(self.purpose.requested_values()).copied()
    }

    /// The number of reads of each value, by steps and by the caller.
    pub(crate) fn readers(&self) -> Vec<usize> {
        let mut readers = vec![0; self.program.shapes.len()];
        let by_steps = self.program.steps.iter().flat_map(|step| &step.inputs).copied();
        by_steps.chain(self.read_by_caller()).for_each(|value| readers[value] += 1);
        readers
    }
}
