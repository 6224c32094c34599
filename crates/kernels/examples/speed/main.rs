//! Microbenchmarks of single kernels, on all threads of this machine.
//!
//! - `cargo run --release -p engraft-kernels --example speed -- layers [IMAGE SIDE] [BATCH] [bf16]`: the kernels of VGG16 and its
//!   head, with the percentage of the machine's peak that each reaches. With `bf16`, only the convolutions, in bf16. The default
//!   `IMAGE SIDE` is 256 pixels, the default `BATCH` 16.
//! - `cargo run --release -p engraft-kernels --example speed -- grid`: the chosen algorithm of 3x3 convolutions compared with
//!   im2col, over image sizes, batch sizes and channels.
//!
//! The environment variable `ENGRAFT_ISA` chooses the instruction set. There is one thread for each CPU that
//! this process may use; `RAYON_NUM_THREADS` has no effect.

mod grid;
mod layers;
mod timing;

use std::process::ExitCode;

use engraft_kernels::{Bf16, Isa, Threads};

const USAGE: &str = "usage: speed layers [IMAGE SIDE] [BATCH] [bf16] | speed grid";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (what, numbers) = arguments.split_first().map_or(("", &[][..]), |(what, numbers)| (what.as_str(), numbers));
    let bf16 = match numbers.last().is_some_and(|last| last == "bf16").then(Bf16::detect).transpose() {
        Ok(bf16) => bf16,
        Err(error) => return failure(&error),
    };
    let numbers: Vec<usize> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
    let work: Box<dyn FnOnce() + Send> = match (what, &numbers[..]) {
        ("layers", []) => Box::new(|| layers::print(256, 16, bf16)),
        ("layers", &[side]) => Box::new(move || layers::print(side, 16, bf16)),
        ("layers", &[side, batch]) => Box::new(move || layers::print(side, batch, bf16)),
        ("grid", []) => Box::new(grid::print),
        _ => return failure(&USAGE),
    };
    let (threads, isa) = match (Threads::new(None), Isa::chosen()) {
        (Ok(threads), Ok(isa)) => (threads, isa),
        (Err(error), _) => return failure(&error),
        (_, Err(error)) => return failure(&error),
    };
    println!("{} threads, {}", threads.count(), isa.name());
    threads.run(work);
    ExitCode::SUCCESS
}

fn failure(reason: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{reason}");
    ExitCode::from(2)
}
