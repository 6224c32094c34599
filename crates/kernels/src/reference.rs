//! The slow truth: plain loops in f64 that every fast path is compared with. Never tuned.
