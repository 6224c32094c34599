//! The overview of a training job that is printed before it starts: photos, model, phases, memory, output.

use engraft::applications::Weights;
use engraft::data::{Dataset, PhotoFolder};
use engraft::plan::Memory;
use engraft::recipe::{Phase, TrainingJob};
use engraft::runtime::Runtime;
use engraft::{LearningRate, Model, Optimizer, Trainability, Weight};

use super::Args;
use crate::output::{count, thousands, titled};
use crate::photos::{by_class, in_numbers, left_out_line};

/// Maximum number of layers that are listed one by one.
const NAMED: usize = 6;

/// The lines of the overview.
pub(super) fn lines(
    args: &Args,
    job: &TrainingJob<'_>,
    folder: &PhotoFolder,
    memory: &[Memory],
    runtime: &Runtime,
) -> Vec<String> {
    let mut lines = photos(job, folder);
    lines.extend(left_out_line(folder));
    lines.extend(balanced(job).map(|text| titled("", text)));
    lines.push(titled("Model", model(args, job)));
    for (number, phase) in job.phases().iter().enumerate() {
        lines.push(titled(if number == 0 { "Training" } else { "" }, training(args, job, phase)));
        lines.push(titled("", trainable(job.classifier().model(), &phase.trainability)));
    }
    let peak = memory.iter().max_by_key(|memory| memory.total()).copied().unwrap_or_default();
    let available = runtime.available_memory();
    let available = available.map(|bytes| Memory { buffers: bytes, ..Memory::default() }.total_readable());
    lines.push(titled("Memory", format!("{peak}")));
    lines.extend(available.map(|available| titled("", format!("at the peak; {available} are available"))));
    let output = args.output.display();
    match job.best_path() {
        None => lines.push(titled("Output", output.to_string())),
        Some(best) => lines.extend([
            titled("Output", format!("{output}, the last epoch with the optimizer state")),
            titled("", format!("{}, the best epoch", best.display())),
        ]),
    }
    lines
}

fn photos(job: &TrainingJob<'_>, folder: &PhotoFolder) -> Vec<String> {
    let validation = match job.validation_set() {
        Some(photos) => format!("{} for validation", photos.len()),
        None => "none for validation".to_owned(),
    };
    vec![
        titled("Photos", in_numbers(folder.photos.len(), folder)),
        titled("", by_class(folder)),
        titled("", format!("{} for training, {validation}", job.training_set().len())),
    ]
}

/// Names the classes that count least and most in the loss: `balanced: a photo of cat counts 0.62, one of dog 2.50`.
fn balanced(job: &TrainingJob<'_>) -> Option<String> {
    let classes = || job.weight_of_classes().into_iter().flatten().zip(job.classifier().classes());
    let (least, least_class) = classes().min_by(|(a, _), (b, _)| a.total_cmp(b))?;
    let (most, most_class) = classes().max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    let text = match least == most {
        true => "balanced: all classes have the same number of training photos".to_owned(),
        false => format!("balanced: a photo of {least_class} counts {least:.2}, one of {most_class} {most:.2}"),
    };
    Some(text)
}

fn model(args: &Args, job: &TrainingJob<'_>) -> String {
    let [height, width] = job.classifier().image_size();
    match (&args.model, args.backbone()) {
        (None, Ok(backbone)) => {
            let classes = job.classifier().classes().len();
            let recipe = args.recipe.recipe(backbone, classes);
            let head: Vec<String> = recipe.head.iter().chain([&classes]).map(ToString::to_string).collect();
            let (weights, augment, head) = (weights_name(&args.weights), &recipe.augment, head.join("-"));
            let normalized = if recipe.normalize_features { " on normalized features" } else { "" };
            format!(
                "{backbone} with {weights}, {height} x {width} pixels, augmentation {augment}, head {head}{normalized}"
            )
        }
        (Some(saved), _) => format!("{}, {height} x {width} pixels", saved.display()),
        (None, Err(_)) => format!("{height} x {width} pixels"),
    }
}

/// Names initial weights.
pub(super) fn weights_name(weights: &Weights) -> String {
    match weights {
        Weights::Imagenet => "the ImageNet weights".to_owned(),
        Weights::None => "random weights".to_owned(),
        Weights::File(path) => format!("the weights in {}", path.display()),
    }
}

/// Describes a phase: `10 epochs of 7 steps of 32 photos, Adam at a learning rate of 0.0001`.
fn training(args: &Args, job: &TrainingJob<'_>, phase: &Phase) -> String {
    let batch = args.batch_size.0.min(job.training_set().len());
    let steps = count(job.steps(), "step");
    let then = if phase.name.is_empty() { String::new() } else { format!("then {}: ", phase.name) };
    let (epochs, batch) = (count(phase.epochs, "epoch"), count(batch, "photo"));
    let rate = match phase.optimizer.learning_rate() {
        // Printed as f32: a tenth of 0.003 is 0.0003 then, while an f64 would show its rounding error.
        LearningRate::Constant(rate) => format!("at a learning rate of {}", *rate as f32),
        LearningRate::Schedule(schedule) => format!("with the learning rate schedule {}", schedule.class_name()),
    };
    format!("{then}{epochs} of {steps} of {batch}, {} {rate}", name(&phase.optimizer))
}

fn name(optimizer: &Optimizer) -> String {
    optimizer.to_keras()["class_name"].as_str().unwrap_or("optimizer").to_owned()
}

/// Describes what is trained: `8,259 of 14,722,947 parameters are trainable: dense, dense_1`.
fn trainable(model: &Model, trainability: &Trainability) -> String {
    let trained = trainability.trainable_weights(model);
    let count = |weights: &[Weight]| thousands(weights.iter().map(Weight::count).sum());
    let (all, some) = (count(&model.weights()), count(&trained));
    format!("{some} of {all} parameters are trainable: {}", named(&trainable_layers(model, &trained)))
}

/// The names of the leaf layers that own any of these weights.
fn trainable_layers(model: &Model, trained: &[Weight]) -> Vec<String> {
    let is_trained = |weight: &Weight| trained.iter().any(|trained| trained.id() == weight.id());
    let layers = model.leaves().into_iter().filter(|layer| layer.own_weights().iter().any(is_trained));
    layers.map(|layer| layer.name().to_owned()).collect()
}

/// Joins layer names. Of more than [`NAMED`], only the first and the last are named, with the number of layers.
fn named(names: &[String]) -> String {
    match names {
        [first, .., last] if names.len() > NAMED => format!("{first} to {last}, {} layers", names.len()),
        few => few.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_layers_are_named_by_the_first_and_the_last() {
        let names = |count: usize| (0..count).map(|layer| format!("dense_{layer}")).collect::<Vec<_>>();
        assert_eq!(named(&names(2)), "dense_0, dense_1");
        assert_eq!(named(&names(13)), "dense_0 to dense_12, 13 layers");
    }
}
