//! `engraft backbones`: lists the pretrained networks that a classifier can be built on.

use engraft::applications::{Architecture, PublishedWeights};
use engraft::recipe::Backbone;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{line, table};
use crate::weights::download_size;

/// The columns of the table that hold numbers, which are right-aligned.
const IS_NUMBER: [bool; 7] = [false, true, true, true, true, true, false];

const LEGEND: &str = "\
Parameters: without the classifier for ImageNet. MACs: multiply-accumulates for one photo of that many pixels per side, with the
classifier for ImageNet.
Min: the fewest pixels per side that --image-size may have. A weights file that is found is verified when it is used.
Top-1: accuracy on ImageNet's 1000 classes in percent, as published:";

const EXAMPLES: &str = "\
Examples:
  engraft backbones --sort accuracy
  engraft train photos -o model.keras --backbone resnet50";

/// List the pretrained networks that `engraft train --backbone` takes, with their size, accuracy and weights
///
/// More parameters take more disk space and memory, more multiply-accumulates take more time, and a higher accuracy on ImageNet
/// often means a better classifier of other photos. Weights that are neither part of the program nor on this machine are
/// downloaded once, when a network is first used.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Order of the list
    #[arg(long, value_enum, default_value = "catalog", value_name = "ORDER", help_heading = "Output")]
    sort: Order,
    /// Print one JSON object instead of text, for scripts
    ///
    /// Its array `backbones` has an object for each network: name, keras (the function in keras.applications), parameters, macs,
    /// image_size, min_image_size, top_1 (percent) and top_1_source (who published it, a URL), last_block (the first layer of the
    /// last block), weights (program; machine, where a file of that name is verified when it is used; download; or null, if only
    /// `engraft train --weights FILE` provides them), file, url, hash and bytes of the weights file, default. What isn't known is
    /// null.
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// The values of `--sort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Order {
    /// By family and size
    Catalog,
    /// By name
    Name,
    /// By accuracy on ImageNet, the highest first
    Accuracy,
    /// By number of parameters, the fewest first
    Parameters,
    /// By multiply-accumulates, the fewest first
    Macs,
}

impl Order {
    fn sort(self, backbones: &mut [Backbone]) {
        let network = |backbone: &Backbone| backbone.architecture();
        match self {
            Self::Catalog => {}
            Self::Name => backbones.sort_by_key(|backbone| network(backbone).name()),
            Self::Accuracy => {
                let accuracy = |backbone: &Backbone| network(backbone).top_1().unwrap_or(0.0);
                backbones.sort_by(|one, other| accuracy(other).total_cmp(&accuracy(one)));
            }
            Self::Parameters => backbones.sort_by_key(|backbone| network(backbone).parameters()),
            Self::Macs => backbones.sort_by_key(|backbone| network(backbone).macs()),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut backbones: Vec<Backbone> = Backbone::all().collect();
    args.sort.sort(&mut backbones);
    match args.json {
        true => line(json!({"backbones": backbones.into_iter().map(to_json).collect::<Vec<_>>()})),
        false => {
            let titles = ["name", "parameters", "MACs", "pixels", "min", "top-1", "weights"].map(str::to_owned);
            let rows: Vec<[String; 7]> = std::iter::once(titles).chain(backbones.into_iter().map(row)).collect();
            line(table(&rows, IS_NUMBER))?;
            line(format_args!("\n{LEGEND}\n{}", sources()))
        }
    }
}

/// A line for each source of accuracies, with the names of its networks; the source of most networks is the last.
fn sources() -> String {
    let mut of_source: Vec<(&str, Vec<&str>)> = Vec::new();
    for network in Architecture::all() {
        match of_source.iter_mut().find(|(source, _)| *source == network.top_1_source()) {
            Some((_, names)) => names.push(network.name()),
            None => of_source.push((network.top_1_source(), vec![network.name()])),
        }
    }
    of_source.sort_by_key(|(_, names)| names.len());
    let others = of_source.pop().map(|(source, _)| format!("  all others: {source}"));
    let named = of_source.into_iter().map(|(source, names)| format!("  {}: {source}", names.join(", ")));
    named.chain(others).collect::<Vec<_>>().join("\n")
}

fn row(backbone: Backbone) -> [String; 7] {
    let network = backbone.architecture();
    let weights = match published(backbone) {
        None => "with --weights FILE".to_owned(),
        Some(PublishedWeights::Embedded) => "in the program".to_owned(),
        Some(PublishedWeights::File { .. }) if is_at_hand(backbone) => "found (verified when used)".to_owned(),
        Some(PublishedWeights::File { file, .. }) => format!("download, {}", download_size(backbone, &file)),
    };
    [
        network.name().to_owned(),
        millions(network.parameters()),
        billions(network.macs()),
        network.image_size().to_string(),
        network.min_image_size().to_string(),
        network.top_1().map_or("-".to_owned(), |top_1| format!("{top_1:.1}")),
        if is_default(backbone) { format!("{weights} (default)") } else { weights },
    ]
}

fn to_json(backbone: Backbone) -> Value {
    let network: &Architecture = backbone.architecture();
    let (weights, file) = match published(backbone) {
        None => (None, None),
        Some(PublishedWeights::Embedded) => (Some("program"), None),
        Some(PublishedWeights::File { file, .. }) => {
            (Some(if is_at_hand(backbone) { "machine" } else { "download" }), Some(file))
        }
    };
    json!({
        "name": network.name(),
        "keras": network.keras_name(),
        "parameters": network.parameters(),
        "macs": network.macs(),
        "image_size": network.image_size(),
        "min_image_size": network.min_image_size(),
        // Through text, because 71.3 as f32 is 71.30000305175781.
        "top_1": network.top_1().and_then(|top_1| top_1.to_string().parse::<f64>().ok()),
        "top_1_source": network.top_1().map(|_| network.top_1_source()),
        "last_block": network.last_block(),
        "weights": weights,
        "file": file.as_ref().map(|file| &*file.name),
        "url": file.as_ref().map(|file| &*file.url),
        "hash": file.as_ref().and_then(|file| file.hash).map(|hash| hash.digits()),
        "bytes": file.as_ref().and_then(|file| file.bytes),
        "default": is_default(backbone),
    })
}

/// The ImageNet weights of a network for photos of its own size.
fn published(backbone: Backbone) -> Option<PublishedWeights> {
    backbone.published_weights(backbone.architecture().image_size())
}

fn is_at_hand(backbone: Backbone) -> bool {
    backbone.is_at_hand(backbone.architecture().image_size())
}

/// Whether `engraft train` takes this network by default.
fn is_default(backbone: Backbone) -> bool {
    backbone == Backbone::EFFICIENTNET_LITE0
}

/// A number in millions, such as `3.4 M`.
fn millions(number: usize) -> String {
    format!("{:.1} M", number as f64 / 1e6)
}

/// A number in billions with two digits after the point, such as `0.39 G`.
fn billions(number: u64) -> String {
    format!("{:.2} G", number as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_has_all_networks() {
        let key = |backbone: &Backbone| backbone.to_string();
        let all: Vec<String> = Backbone::all().map(|backbone| key(&backbone)).collect();
        let sorted = |order: Order| {
            let mut backbones: Vec<Backbone> = Backbone::all().collect();
            order.sort(&mut backbones);
            backbones
        };
        for order in [Order::Catalog, Order::Name, Order::Accuracy, Order::Parameters, Order::Macs] {
            let mut names: Vec<String> = sorted(order).iter().map(key).collect();
            let mut expected = all.clone();
            names.sort();
            expected.sort();
            assert_eq!(names, expected, "{order:?}");
        }
        assert!(sorted(Order::Accuracy).is_sorted_by_key(|backbone| -backbone.architecture().top_1().unwrap_or(0.0)));
        assert!(sorted(Order::Parameters).is_sorted_by_key(|backbone| backbone.architecture().parameters()));
        assert!(sorted(Order::Macs).is_sorted_by_key(|backbone| backbone.architecture().macs()));
    }

    #[test]
    fn numbers_have_units() {
        assert_eq!((millions(3_413_024), billions(385_000_000)), ("3.4 M".to_owned(), "0.39 G".to_owned()));
    }
}
