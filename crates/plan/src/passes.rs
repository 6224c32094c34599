//! Passes over an [`AnnotatedProgram`], one file each. Each pass makes one decision, which later passes build on.

mod chunk_prefix;
mod differentiate;
mod fold_batch_norm;
mod fold_updates;
mod fuse_activations;
mod fuse_pooling;
mod rematerialize;
mod split_output_activation;
mod stream_rows;

pub use stream_rows::RowStream;

use engraft_nn::Result;

use crate::PlanOptions;
use crate::annotated_program::AnnotatedProgram;

/// A pass: makes one decision and records it in the program.
type Pass = fn(&mut AnnotatedProgram, &PlanOptions) -> Result<()>;

/// All passes, in the order in which they run.
const PASSES: &[Pass] = &[
    split_output_activation::run,
    differentiate::run,
    fold_batch_norm::run,
    fuse_activations::run,
    fold_updates::run,
    fuse_pooling::run,
    stream_rows::run,
    chunk_prefix::run,
    rematerialize::run,
];

/// Runs the passes that depend on [`PlanOptions::low_memory`] again, after all passes have run.
pub(crate) fn save_memory(annotated: &mut AnnotatedProgram, options: &PlanOptions) -> Result<()> {
    chunk_prefix::run(annotated, options)?;
    rematerialize::run(annotated, options)
}

/// Runs all passes.
pub(crate) fn run(annotated: &mut AnnotatedProgram, options: &PlanOptions) -> Result<()> {
    PASSES.iter().try_for_each(|pass| pass(annotated, options))
}
