//! Seconds to decode all photos of a folder and to resize them, with a thread per core.
//!
//! `cargo run --release -p engraft-data --example decode PHOTOS SIZE`

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use engraft_data::{PhotoListing, decode};
use rayon::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, size] = &arguments[..] else { return Err("expected PHOTOS SIZE".into()) };
    let size = size.parse()?;
    let photos = PhotoListing::of(Path::new(folder), true)?.photos;
    let start = Instant::now();
    photos.par_iter().try_for_each(|photo| decode(photo).map(|pixels| drop(pixels.resize(size, size))))?;
    println!("{:.3}", start.elapsed().as_secs_f64());
    Ok(())
}
