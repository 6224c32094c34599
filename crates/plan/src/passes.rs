//! Passes over a draft, one file each. A pass decides one thing, from what those before it have decided.

mod chunk_prefix;
mod differentiate;
mod fold_updates;
mod fuse_pooling;
mod rematerialize;
mod split_head;
mod stream_rows;

pub use stream_rows::RowStream;

use engraft_nn::Result;

use crate::PlanOptions;
use crate::draft::Draft;

/// Decides one thing about a draft.
type Pass = fn(&mut Draft, &PlanOptions) -> Result<()>;

/// All passes, in the order in which they run.
const PASSES: &[Pass] = &[
    split_head::run,
    differentiate::run,
    fold_updates::run,
    fuse_pooling::run,
    stream_rows::run,
    chunk_prefix::run,
    rematerialize::run,
];

/// Runs those passes again that decide how much memory a finished draft takes.
pub(crate) fn save_memory(draft: &mut Draft, options: &PlanOptions) -> Result<()> {
    chunk_prefix::run(draft, options)?;
    rematerialize::run(draft, options)
}

/// Runs all passes.
pub(crate) fn run(draft: &mut Draft, options: &PlanOptions) -> Result<()> {
    PASSES.iter().try_for_each(|pass| pass(draft, options))
}
