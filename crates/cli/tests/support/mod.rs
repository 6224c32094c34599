//! Runs the program as a user does, on generated photos and models.

#![allow(dead_code, reason = "each file of tests uses some of it")]
#![allow(clippy::unwrap_used, reason = "only tests use it")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use engraft::Model;
use engraft::formats::keras::{self, SaveOptions};
use engraft::prelude::*;
use engraft::random::Rng;
use engraft::recipe::Metadata;
use serde_json::Value;
use tempfile::TempDir;

/// Name and colour of each class. Its photos show a patch of this colour at a random place in grey noise.
pub(crate) const COLOURS: [(&str, [u8; 3]); 3] =
    [("blue", [30, 40, 230]), ("green", [20, 200, 40]), ("red", [220, 30, 20])];

/// A temporary folder in which the program runs; deleted when dropped.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A place with a folder `photos`, which has `each` photos of each class of [`COLOURS`].
    pub(crate) fn with_photos(each: usize) -> Self {
        let place = Self::new();
        place.add_photos("photos", each, 1);
        place
    }

    pub(crate) fn add_photos(&self, folder: &str, each: usize, seed: u64) {
        let mut rng = Rng::new(seed);
        for (class, colour) in COLOURS {
            for number in 0..each {
                self.write(&format!("{folder}/{class}/{number:02}.bmp"), &photo(colour, &mut rng));
            }
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap()
    }

    /// Runs `engraft` in the folder with arguments separated by spaces.
    pub(crate) fn run(&self, arguments: &str) -> Run {
        self.run_with(arguments, |command| command)
    }

    pub(crate) fn run_with(&self, arguments: &str, change: impl FnOnce(&mut Command) -> &mut Command) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_engraft"));
        command.args(arguments.split_whitespace()).current_dir(self.0.path()).env("ENGRAFT_CACHE", self.0.path());
        // Weights must come neither from a server nor from a cache of this machine.
        command.env("KERAS_HOME", self.0.path()).env("ENGRAFT_WEIGHTS_URL", "http://127.0.0.1:9");
        Run::of(arguments, &change(&mut command).output().unwrap())
    }

    /// Saves a small model of three classes on 16 by 16 pixels that learns colours within a few epochs.
    pub(crate) fn add_model(&self, name: &str) {
        save(&small_model(3), &self.path(name));
    }

    /// Saves a small model like [`add_model`](Self::add_model), with class names, as `engraft train` does.
    pub(crate) fn add_classifier(&self, name: &str) {
        let metadata = Metadata::new(COLOURS.map(|(class, _)| class.to_owned()).to_vec());
        Classifier::new(small_model(3), Some(metadata)).unwrap().save(&self.path(name)).unwrap();
    }

    /// Names and contents of the entries of a `.keras` file, except `metadata.json`, which contains the date.
    pub(crate) fn entries(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        let mut zip = zip::ZipArchive::new(fs::File::open(self.path(name)).unwrap()).unwrap();
        let mut entries = Vec::new();
        for index in 0..zip.len() {
            let mut entry = zip.by_index(index).unwrap();
            let (name, mut content) = (entry.name().unwrap().into_owned(), Vec::new());
            entry.read_to_end(&mut content).unwrap();
            if name != "metadata.json" {
                entries.push((name, content));
            }
        }
        entries
    }

    /// Path and content of every file below the folder `name`, sorted by path.
    pub(crate) fn snapshot(&self, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        let mut pending = vec![self.path(name)];
        while let Some(folder) = pending.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => pending.push(path),
                    false => files.push((path.clone(), fs::read(path).unwrap())),
                }
            }
        }
        files.sort();
        files
    }
}

/// The result of a run: arguments, exit code, standard output and standard error.
pub(crate) struct Run {
    arguments: String,
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    fn of(arguments: &str, output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let run = Self {
            arguments: arguments.to_owned(),
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        };
        assert!(!run.err.contains("panicked"), "{run}");
        run
    }

    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        self.ends_with(0)
    }

    #[track_caller]
    pub(crate) fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Asserts that the exit code is `code`, and that standard error contains `error: ` and each of `expected`.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, expected: &[&str]) -> Self {
        let run = self.ends_with(code);
        assert!(run.err.contains("error: "), "{run}");
        expected.iter().for_each(|expected| assert!(run.err.contains(expected), "expected {expected:?} in {run}"));
        run
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { arguments, code, out, err } = self;
        write!(f, "engraft {arguments}\ncode {code:?}\n--- output\n{out}--- error\n{err}")
    }
}

pub(crate) fn small_model(classes: usize) -> Model {
    engraft::clear_session();
    let model = Sequential::with_name("small")
        .add(Input::new([16, 16, 3]))
        .add(Rescaling::new(1.0 / 255.0))
        .add(Conv2D::new(8, 3).activation(Relu).named("conv"))
        .add(GlobalMaxPooling2D::new())
        .add(Dense::new(classes).activation(Softmax).named("top"))
        .build()
        .unwrap();
    model.compile(Adam::new(0.02), Loss::sparse_categorical_crossentropy(), [Metric::Accuracy]).unwrap();
    model
}

pub(crate) fn save(model: &Model, path: &Path) {
    keras::save(model, path, &SaveOptions::default()).unwrap();
}

/// Content of a test file of the crate engraft-data.
pub(crate) fn testdata(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/testdata").join(name)).unwrap()
}

/// A BMP photo of 40 by 36 pixels: a square of `colour` at a random place in grey noise.
fn photo(colour: [u8; 3], rng: &mut Rng) -> Vec<u8> {
    let (width, height) = (40, 36);
    let (left, top) = (rng.uniform(0.0, 20.0) as usize, rng.uniform(0.0, 16.0) as usize);
    bmp(width, height, |x, y| match (left..left + 20).contains(&x) && (top..top + 20).contains(&y) {
        true => colour,
        false => [rng.uniform(60.0, 160.0) as u8; 3],
    })
}

/// An uncompressed BMP image with 24 bits per pixel. `3 * width` must be a multiple of 4, because no padding is written.
pub(crate) fn bmp(width: usize, height: usize, mut pixel: impl FnMut(usize, usize) -> [u8; 3]) -> Vec<u8> {
    let size = 54 + 3 * width * height;
    let mut file = b"BM".to_vec();
    for number in [size as u32, 0, 54, 40, width as u32, height as u32, 1 | 24 << 16, 0, 0, 0, 0, 0, 0] {
        file.extend(number.to_le_bytes());
    }
    for y in (0..height).rev() {
        for x in 0..width {
            let [red, green, blue] = pixel(x, y);
            file.extend([blue, green, red]);
        }
    }
    file
}
