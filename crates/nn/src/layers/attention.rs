//! Attention layers. `heads` and `attend` have what the multi-head layers share; `mask` says which keys a query attends to.

mod additive;
mod attend;
mod call_options;
mod grouped_query;
mod heads;
mod mask;
mod multi_head;
mod projection;
mod single_head;

pub use additive::AdditiveAttention;
pub(super) use attend::Attend;
pub use grouped_query::GroupQueryAttention;
pub(super) use mask::MaskOptions;
pub use multi_head::MultiHeadAttention;
pub use single_head::{Attention, ScoreMode};
