//! What a contributor runs: `cargo xtask assets`, `demo`, `test`.

fn main() {}
