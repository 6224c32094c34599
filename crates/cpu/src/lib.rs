//! The CPU executor: runs a plan with engraft's kernels.
