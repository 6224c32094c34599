//! A [`TrainingJob`](engraft::recipe::TrainingJob) of two phases: which epochs it saves, and what an interrupt or an error leaves.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod checkpoints;
mod features;
mod phases;
mod support;
