//! Reads the golden values (arrays computed by Keras) in this folder, for the tests of other crates.
//!
//! ```
//! let cases = engraft_golden::cases("layers");
//! let case = &cases[0];
//! assert!(case.arrays().get("y").data().iter().all(|y| y.is_finite()));
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use engraft_nn::Tensor;
use npyz::{DType, NpyFile, TypeChar};
use serde_json::Value;

/// One test case: a row of a folder's `index.json`.
#[derive(Clone, Debug)]
pub struct Case {
    folder: PathBuf,
    row: Value,
}

/// The cases of a folder such as `layers`.
///
/// # Panics
/// The folder or its index is missing or malformed.
pub fn cases(folder: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let text = std::fs::read_to_string(folder.join("index.json")).expect("every golden folder has an index");
    let rows: Vec<Value> = serde_json::from_str(&text).expect("an index is a list");
    rows.into_iter().map(|row| Case { folder: folder.clone(), row }).collect()
}

impl Case {
    /// The case's name.
    pub fn name(&self) -> &str {
        self.row["case"].as_str().expect("every case has a name")
    }

    /// The value of `key` in the index, or null.
    pub fn get(&self, key: &str) -> &Value {
        &self.row[key]
    }

    /// The list of names under `key` in the index; empty if there is none.
    pub fn names(&self, key: &str) -> Vec<&str> {
        self.row[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The path of a file in the index's folder.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Reads the case's arrays.
    pub fn arrays(&self) -> Arrays {
        Arrays::open(&self.path(&format!("{}.npz", self.name())))
    }
}

/// The named arrays of an `.npz` file.
#[derive(Clone, Debug)]
pub struct Arrays(HashMap<String, Tensor>);

impl Arrays {
    /// Reads all arrays of a file. Integers are converted to f32.
    ///
    /// # Panics
    /// The file is missing or malformed.
    pub fn open(path: &Path) -> Self {
        let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut npz = npyz::npz::NpzArchive::new(BufReader::new(file)).expect("a readable npz");
        let names: Vec<String> = npz.array_names().map(str::to_owned).collect();
        let read = |name: String| {
            let array = npz.by_name(&name).expect("a readable entry").expect("an entry in the archive");
            (name, tensor(array))
        };
        Self(names.into_iter().map(read).collect())
    }

    /// The array called `name`.
    ///
    /// # Panics
    /// No array has this name.
    pub fn get(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("no array called {name}"))
    }
}

fn tensor(array: NpyFile<impl Read>) -> Tensor {
    let shape: Vec<usize> = array.shape().iter().map(|&axis| axis as usize).collect();
    let integers = matches!(array.dtype(), DType::Plain(plain) if plain.type_char() == TypeChar::Int);
    let data = if integers {
        array.into_vec::<i64>().expect("i64").into_iter().map(|value| value as f32).collect()
    } else {
        array.into_vec::<f32>().expect("f32")
    };
    Tensor::new(shape, data).expect("an npy file's shape fits its data")
}

/// A synthetic image `[size, size, 3]` of integers from 0 to 255. Its formula is in the indexes of `vgg16` and `mobilenet`.
///
/// ```
/// assert_eq!(engraft_golden::picture(2), [0., 90., 180., 5., 95., 185., 3., 96., 189., 8., 101., 194.]);
/// ```
pub fn picture(size: usize) -> Vec<f32> {
    let pixel = |y: usize, x: usize, c: usize| {
        let t = (5 * x + 3 * y * (c + 1) + ((x * y * (c + 2)) >> 5) + 90 * c) % 512;
        if t < 256 { t as f32 } else { (511 - t) as f32 }
    };
    (0..size * size * 3).map(|i| pixel(i / (3 * size), i / 3 % size, i % 3)).collect()
}

/// The largest absolute difference, divided by the largest expected magnitude.
///
/// # Panics
/// The lengths differ, or a value in `found` isn't finite.
pub fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().all(|x| x.is_finite()), "a value is not finite");
    let largest = expected.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let difference = found.iter().zip(expected).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    if largest > 0.0 { difference / largest } else { difference }
}
