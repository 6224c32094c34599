//! The protocol between the benchmark driver and a peer, as in `serve.py`: lines on standard input and output.

use std::error::Error;
use std::io::{self, Write};
use std::time::Instant;

use serde_json::{Value, json};

/// Number of convolutions and filters of each block of VGG16.
pub const BLOCKS: [(usize, usize); 5] = [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)];
/// Units of the head's Dense layers.
pub const HEAD: [usize; 3] = [4096, 4096, 5];

/// The task to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    Predict,
    /// A training step. The first `frozen` of the thirteen convolutions are frozen.
    Train { frozen: usize },
}

/// The request of the driver: task, batch size, and image size in pixels.
pub struct Options {
    pub task: Task,
    pub batch: usize,
    pub size: usize,
}

/// Result with any error. The driver records an error and continues without this peer.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

impl Options {
    /// Parses the program's only argument.
    pub fn read() -> Result<Self> {
        let text = std::env::args().nth(1).ok_or("expected options in JSON")?;
        let options: Value = serde_json::from_str(&text)?;
        let number = |name: &str| options[name].as_u64().map(|n| n as usize).ok_or(format!("no {name}"));
        let task = match options["task"].as_str() {
            Some("predict") => Task::Predict,
            Some("frozen") => Task::Train { frozen: 13 },
            Some("fine-tune=15") => Task::Train { frozen: 10 },
            Some("full") => Task::Train { frozen: 0 },
            other => Err(format!("no such task: {other:?}"))?,
        };
        Ok(Self { task, batch: number("batch")?, size: number("size")? })
    }
}

/// Runs `step` once to warm up, then once for each `run` of the driver, and sends the seconds of each step.
pub fn serve(version: &str, mut step: impl FnMut() -> Result<()>) -> Result<()> {
    step()?;
    send(&json!({"version": version}))?;
    for line in io::stdin().lines() {
        if line?.trim() != "run" {
            break;
        }
        let began = Instant::now();
        step()?;
        send(&json!({"seconds": began.elapsed().as_secs_f64()}))?;
    }
    Ok(())
}

fn send(message: &Value) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "@{message}")?;
    output.flush()
}
