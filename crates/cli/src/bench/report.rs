//! Formats the measurements of `engraft bench` as text and as JSON.

use std::time::Duration;

use engraft::plan::{Memory, Work};
use engraft::recipe::Recipe;
use engraft::train::{LayerSpeed, Speed};
use serde_json::{Value, json};

use super::{Args, CLASSES};
use crate::output::count;

/// The measurements, with the arguments, the number of threads and the peak memory of the run.
pub(super) struct Report<'a> {
    pub(super) args: &'a Args,
    pub(super) recipe: &'a Recipe,
    pub(super) speed: &'a Speed,
    pub(super) threads: usize,
    /// Peak memory of the process; `None` if the system doesn't report it.
    pub(super) peak_bytes: Option<usize>,
}

impl Report<'_> {
    /// The measurements as JSON. If the system doesn't report peak memory, `peak_bytes` is the planned memory.
    pub(super) fn to_json(&self) -> Value {
        let (args, speed) = (self.args, self.speed);
        let steps: Vec<f64> = speed.steps.iter().map(Duration::as_secs_f64).collect();
        let mut json = json!({
            "backbone": args.backbone.to_string(),
            "mode": args.mode.to_string(),
            "batch": speed.batch,
            "image_size": self.recipe.image_size,
            "precision": args.precision.get().to_string(),
            "threads": self.threads,
            "seconds_per_step": speed.seconds_per_step(),
            "seconds": steps,
            "images_per_second": speed.samples_per_second(),
            "gflops": speed.gflops(),
            "peak_gflops": speed.peak_gflops,
            "isa": speed.isa,
            "peak_bytes": self.peak_bytes.unwrap_or(speed.memory.total()),
            "planned_bytes": speed.memory.total(),
        });
        if args.layers {
            json["layers"] = speed.layers.iter().map(layer_to_json).collect();
        }
        json
    }

    pub(super) fn to_text(&self) -> String {
        let (args, speed) = (self.args, self.speed);
        let head: Vec<String> = self.recipe.head.iter().chain([&CLASSES]).map(ToString::to_string).collect();
        let milliseconds = |time: f64| format!("{:.1} ms", 1e3 * time);
        let best = speed.steps.iter().min().map_or(0.0, Duration::as_secs_f64);
        let worst = speed.steps.iter().max().map_or(0.0, Duration::as_secs_f64);
        let peak = |bytes| Memory { buffers: bytes, ..Memory::default() }.total_readable();
        let memory = match self.peak_bytes {
            Some(bytes) => format!("{} at the peak, {} of it planned", peak(bytes), speed.memory.total_readable()),
            None => format!("{} planned", speed.memory.total_readable()),
        };
        let share = 100.0 * speed.gflops() / speed.peak_gflops.max(1e-9);
        let mut text = format!(
            "{} at {size} x {size} pixels, head {}, {}, batch {}, {}, {}\n\n",
            args.backbone,
            head.join("-"),
            args.mode,
            speed.batch,
            args.precision.get(),
            count(self.threads, "thread"),
            size = self.recipe.image_size,
        );
        for (title, value) in [
            ("Step", milliseconds(speed.seconds_per_step())),
            ("", format!("median of {}, {} to {}", speed.steps.len(), milliseconds(best), milliseconds(worst))),
            ("Speed", format!("{:.2} images/s", speed.samples_per_second())),
            ("", format!("{:.1} GFLOP/s, if convolutions are counted as computed directly", speed.gflops())),
            (
                "",
                format!(
                    "{share:.0} % of the {:.1} that these threads can do in f32 with {}",
                    speed.peak_gflops, speed.isa
                ),
            ),
            ("Memory", memory),
        ] {
            text.push_str(&format!("{title:9} {value}\n"));
        }
        if args.layers {
            text.push_str(&layers_to_text(&speed.layers));
        }
        text.trim_end().to_owned()
    }
}

fn gflops(operations: usize, seconds: f64) -> f64 {
    operations as f64 / seconds.max(1e-9) / 1e9
}

fn layer_to_json(layer: &LayerSpeed) -> Value {
    let LayerSpeed { name, time, work: Work { forward, backward } } = layer;
    json!({
        "name": name,
        "forward_seconds": time.forward.as_secs_f64(),
        "backward_seconds": time.backward.as_secs_f64(),
        "forward_gflop": *forward as f64 / 1e9,
        "backward_gflop": *backward as f64 / 1e9,
    })
}

/// A table with one row per layer. Layers without arithmetic, such as Flatten, have no GFLOP/s.
fn layers_to_text(layers: &[LayerSpeed]) -> String {
    let width = layers.iter().map(|layer| layer.name.chars().count()).max().unwrap_or(0).max("Layer".len());
    let row = |name: &str, cells: [String; 4]| {
        let [forward, rate, backward, back_rate] = cells;
        format!("{name:width$} {forward:>12} {rate:>9} {backward:>12} {back_rate:>9}\n")
    };
    let cells = |time: Duration, operations: usize| match (time.as_secs_f64(), operations) {
        (0.0, _) => [String::new(), String::new()],
        (seconds, 0) => [format!("{:.1} ms", 1e3 * seconds), String::new()],
        (seconds, operations) => [format!("{:.1} ms", 1e3 * seconds), format!("{:.0}", gflops(operations, seconds))],
    };
    let titles = ["forward", "GFLOP/s", "backward", "GFLOP/s"].map(str::to_owned);
    let mut text = format!("\n{}", row("Layer", titles));
    for LayerSpeed { name, time, work } in layers {
        let [forward, rate] = cells(time.forward, work.forward);
        let [backward, back_rate] = cells(time.backward, work.backward);
        text.push_str(&row(name, [forward, rate, backward, back_rate]));
    }
    text
}

#[cfg(test)]
mod tests {
    use engraft::plan::StepTime;

    use super::*;

    #[test]
    fn a_layer_is_a_row() {
        let time = StepTime { forward: Duration::from_millis(20), backward: Duration::ZERO };
        let layers = [
            LayerSpeed { name: "conv".into(), time, work: Work { forward: 4_000_000_000, backward: 0 } },
            LayerSpeed { name: "flatten".into(), time: StepTime::default(), work: Work::default() },
        ];
        let expected = "
Layer        forward   GFLOP/s     backward   GFLOP/s
conv         20.0 ms       200
flatten
";
        let text = layers_to_text(&layers);
        let trimmed: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(trimmed, expected.lines().collect::<Vec<_>>());
    }
}
