//! How the driver and a peer talk, as in `serve.py`: a line each way, on standard input and output.

use std::error::Error;
use std::io::{self, Write};
use std::time::Instant;

use serde_json::{Value, json};

/// Convolutions and filters of VGG16's blocks.
pub const BLOCKS: [(usize, usize); 5] = [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)];
/// Units of the layers on top.
pub const HEAD: [usize; 3] = [4096, 4096, 5];

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    Predict,
    /// A step of training, this many of the thirteen convolutions frozen.
    Train { frozen: usize },
}

/// What to do: task, batch, pixels a side.
pub struct Options {
    pub task: Task,
    pub batch: usize,
    pub size: usize,
}

/// A failure of whatever kind: the driver records it and goes on without this peer.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

impl Options {
    /// From the program's only argument.
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

/// Runs `step` once to warm up, then as often as the driver asks, and tells the seconds that each took.
pub fn serve(version: &str, mut step: impl FnMut() -> Result<()>) -> Result<()> {
    step()?;
    say(&json!({"version": version}))?;
    for line in io::stdin().lines() {
        if line?.trim() != "run" {
            break;
        }
        let began = Instant::now();
        step()?;
        say(&json!({"seconds": began.elapsed().as_secs_f64()}))?;
    }
    Ok(())
}

fn say(message: &Value) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "@{message}")?;
    output.flush()
}
