//! Time and memory of a large classifier: 50,000 samples of 1280 features in 200 classes, or the sizes given as arguments.
//!
//! `cargo run --release -p engraft-linear --example large [SAMPLES DIM CLASSES]`

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use engraft_ir::random::Rng;
use engraft_linear::{Features, Folds, Labels, Monitor, Options, cross_validate, fit};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = std::env::args().skip(1).map(|argument| argument.parse()).collect::<Result<Vec<usize>, _>>()?;
    let [samples, dim, classes] = match arguments[..] {
        [] => [50_000, 1280, 200],
        [samples, dim, classes] => [samples, dim, classes],
        _ => return Err("expected SAMPLES DIM CLASSES".into()),
    };
    let (values, class_of_sample) = synthetic(samples, dim, classes);
    let (features, labels) = (Features::new(&values, samples, dim)?, Labels::single(&class_of_sample, classes)?);
    let megabytes = |bytes: usize| bytes as f64 / 1e6;
    let size = megabytes(size_of_val(&values[..]));
    println!("{samples} samples of {dim} features ({size:.0} MB), {classes} classes");
    report_peak(size);

    let start = Instant::now();
    let shown = AtomicUsize::new(0);
    let progress = |fraction: f64| {
        let tenths = (10.0 * fraction) as usize;
        if shown.swap(tenths, Ordering::Relaxed) < tenths {
            eprintln!("{tenths}0 % after {:.0} s", start.elapsed().as_secs_f64());
        }
    };
    let monitor = Monitor::new().on_progress(&progress);
    let folds = Folds::stratified(&labels, 5, 0)?;
    let score = cross_validate(features, &labels, &folds, &Options::default(), &monitor)?;
    println!(
        "cross_validate: {:.1} s, {:.2} tera-multiply-accumulates",
        start.elapsed().as_secs_f64(),
        score.macs as f64 / 1e12
    );
    println!(
        "accuracy {:.4}, log loss {:.4}, calibration error {:.4}",
        score.accuracy, score.log_loss, score.calibration_error
    );
    for choice in &score.choices {
        println!("  strength {:.3}, temperature {:.3}", choice.strength, choice.temperature);
    }
    report_peak(size);

    let start = Instant::now();
    let fitted = fit(features, &labels, &Options::default(), &Monitor::new())?;
    println!("fit: {:.1} s, {:.2} tera-multiply-accumulates", start.elapsed().as_secs_f64(), fitted.macs as f64 / 1e12);
    report_peak(size);
    Ok(())
}

fn report_peak(size: f64) {
    if let Some(peak) = engraft_memory::peak() {
        println!("  peak memory {:.0} MB, {:.2} times the features", peak as f64 / 1e6, peak as f64 / 1e6 / size);
    }
}

/// Gaussian classes with correlated features, as those of a network: noise of 32 common directions and of each feature.
fn synthetic(samples: usize, dim: usize, classes: usize) -> (Vec<f32>, Vec<usize>) {
    let mut rng = Rng::new(1);
    let centres: Vec<f32> = (0..classes * dim).map(|_| 0.16 * rng.normal()).collect();
    let directions: Vec<f32> = (0..32 * dim).map(|_| rng.normal()).collect();
    let class_of_sample: Vec<usize> = (0..samples).map(|sample| sample % classes).collect();
    let mut values = Vec::with_capacity(samples * dim);
    for &class in &class_of_sample {
        let common: [f32; 32] = std::array::from_fn(|_| 0.3 * rng.normal());
        for column in 0..dim {
            let shared: f32 = common.iter().enumerate().map(|(at, x)| x * directions[at * dim + column]).sum();
            // Features after an activation are not negative.
            values.push((centres[class * dim + column] + shared + rng.normal()).max(0.0));
        }
    }
    (values, class_of_sample)
}
