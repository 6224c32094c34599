//! `engraft cache`: lists and clears the cache of features.

use std::time::{Duration, SystemTime};

use engraft::cache::{FeatureCache, Listing, NetworkSummary};
use engraft::recipe::feature_cache;
use engraft::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{line, table, thousands};

/// Characters of a network's key that are printed.
const KEY: usize = 12;

/// The columns of the table that hold numbers, which are right-aligned.
const IS_NUMBER: [bool; 5] = [false, false, true, true, false];

const EXAMPLES: &str = "\
Examples:
  engraft cache
  engraft cache --clear
  ENGRAFT_FEATURE_CACHE=8GB engraft train photos -o model.keras
  ENGRAFT_FEATURE_CACHE=off engraft train photos -o model.keras";

/// List or clear the cache of features: outputs of pretrained networks for your photos, kept from earlier runs
///
/// With cached features, a photo is neither decoded nor run through the network again. They lie in the folder `features` of the
/// cache folder, which is $ENGRAFT_CACHE or ~/.cache/engraft. A file's content counts, not its name or place.
///
/// The cache holds at most 2 GiB, about 400,000 photos; those used longest ago make room for new ones. Set
/// ENGRAFT_FEATURE_CACHE to another size, or to `off`. It is safe to clear the cache at any time.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Delete all cached features
    #[arg(long, help_heading = "Cache")]
    clear: bool,
    /// Print one JSON object instead of text, for scripts
    #[arg(long, help_heading = "Output")]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let cache = feature_cache().map_err(Failure::Usage)?;
    let failed = |error: std::io::Error| {
        let folder = cache.folder().unwrap_or_else(|| "feature cache".as_ref());
        let kind = ErrorKind::from(error.kind());
        Error::because(folder.display(), &error)
            .with_kind(kind)
            .caused_by(error)
            .hint("give yourself access to the folder, or set ENGRAFT_CACHE to another one")
    };
    if args.clear {
        let freed = cache.clear().map_err(failed)?;
        return match args.json {
            true => line(json!({"freed": freed})),
            false => line(format_args!("Freed {}", size(freed))),
        };
    }
    let listing = cache.list().map_err(failed)?;
    match args.json {
        true => line(to_json(&cache, &listing)),
        false => line(to_text(&cache, &listing, SystemTime::now())),
    }
}

fn to_json(cache: &FeatureCache, listing: &Listing) -> Value {
    let network = |network: &NetworkSummary| {
        let NetworkSummary { key, name, photos, bytes, last_used } = network;
        let last_used = last_used.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        json!({"key": key, "name": name, "photos": photos, "bytes": bytes, "last_used": last_used})
    };
    json!({
        "folder": cache.folder().map(|folder| folder.to_string_lossy()),
        "bytes": listing.bytes,
        "limit": cache.limit(),
        "networks": listing.networks.iter().map(network).collect::<Vec<_>>(),
    })
}

fn to_text(cache: &FeatureCache, listing: &Listing, now: SystemTime) -> String {
    let (Some(folder), Some(limit)) = (cache.folder(), cache.limit()) else {
        let reason = cache.note().unwrap_or_else(|| "ENGRAFT_FEATURE_CACHE=off".to_owned());
        return format!("The feature cache is off: {reason}");
    };
    let total = format!("{}: {} of at most {}", folder.display(), size(listing.bytes), size(limit));
    if listing.networks.is_empty() {
        return total;
    }
    let row = |network: &NetworkSummary| {
        let key = network.key.chars().take(KEY).collect();
        let age = now.duration_since(network.last_used).unwrap_or_default();
        [network.name.clone(), key, thousands(network.photos), size(network.bytes), ago(age)]
    };
    let titles = ["network", "key", "photos", "size", "last use"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(titles).chain(listing.networks.iter().map(row)).collect();
    format!("{total}\n\n{}", table(&rows, IS_NUMBER))
}

/// A number of bytes, such as `1.5 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 999.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// How long ago something was, such as `3 hours ago`.
fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    let (number, unit) = match seconds {
        0..60 => return "just now".to_owned(),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{} ago", crate::output::count(number as usize, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_have_fitting_units() {
        let sizes = [0, 1023, 5 << 20, 2 << 30, (1 << 30) - 1, 3 << 40].map(size);
        assert_eq!(sizes, ["0.0 KiB", "1.0 KiB", "5.0 MiB", "2.0 GiB", "1.0 GiB", "3.0 TiB"]);
        let ages = [0, 59, 60, 7200, 86_399, 86_400, 10 * 86_400].map(|seconds| ago(Duration::from_secs(seconds)));
        let expected =
            ["just now", "just now", "1 minute ago", "2 hours ago", "23 hours ago", "1 day ago", "10 days ago"];
        assert_eq!(ages, expected);
    }
}
