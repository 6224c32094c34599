//! Reads HDF5 files that Keras and h5py wrote (`data/generate.py`), and files of our own writer.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};

use engraft_formats::h5::{H5Error, H5File, H5Writer};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn open(name: &str) -> H5File {
    H5File::open(&data(name)).unwrap()
}

fn names(file: &H5File, group: &str) -> Vec<String> {
    file.children(group).unwrap().into_iter().map(|entry| entry.name).collect()
}

/// `start, start + 1, …`, as the generator numbers the weights of its model.
fn counting(start: usize, count: usize) -> Vec<f32> {
    (start..start + count).map(|value| value as f32).collect()
}

#[test]
fn keras_3_weights_with_optimizer_state() {
    let file = open("keras3.weights.h5");
    assert_eq!(names(&file, ""), ["layers", "optimizer", "vars"]);
    assert_eq!(names(&file, "layers"), ["dense", "dense_1", "flatten"]);
    assert_eq!(file.children("layers/flatten/vars").unwrap(), []);
    assert_eq!(file.attr_string("layers/dense_1/vars", "name").unwrap().as_deref(), Some("dense_1"));
    assert_eq!(file.read_f32("layers/dense/vars/0").unwrap(), (vec![4, 3], counting(0, 12)));
    assert_eq!(file.read_f32("layers/dense_1/vars/1").unwrap(), (vec![2], counting(21, 2)));
    assert_eq!(file.read_i64("optimizer/vars/0").unwrap(), (vec![], vec![7]));
    assert_eq!(file.read_f32("optimizer/vars/1").unwrap(), (vec![], vec![0.25]));
}

#[test]
fn keras_2_whole_model() {
    let file = open("keras2_whole_model.h5");
    let config = file.attr_string("", "model_config").unwrap().unwrap();
    assert!(config.starts_with(r#"{"class_name": "Sequential""#), "{config}");
    let layers = file.attr_strings("model_weights", "layer_names").unwrap().unwrap();
    assert_eq!(layers, ["dense", "flatten", "dense_1"]);
    let weights = file.attr_strings("model_weights/dense", "weight_names").unwrap().unwrap();
    assert_eq!(weights, ["sequential/dense/kernel", "sequential/dense/bias"]);
    let kernel = file.read_f32(&format!("model_weights/dense/{}", weights[0])).unwrap();
    assert_eq!(kernel, (vec![4, 3], counting(0, 12)));
    assert_eq!(file.attr_strings("model_weights/flatten", "weight_names").unwrap(), Some(vec![]));
}

#[test]
fn every_number_type_becomes_f32() {
    let file = open("types.h5");
    for name in names(&file, "floats") {
        let (shape, values) = file.read_f32(&format!("floats/{name}")).unwrap();
        assert_eq!((shape, values), (vec![2, 3], vec![0.5, -2.0, 3.0, 0.25, 0.0, 1024.0]), "{name}");
    }
    for name in names(&file, "integers") {
        let path = format!("integers/{name}");
        assert_eq!(file.read_f32(&path).unwrap(), (vec![2], vec![1.0, 100.0]), "{name}");
        assert_eq!(file.read_i64(&path).unwrap(), (vec![2], vec![1, 100]), "{name}");
    }
    assert_eq!(file.read_f32("scalar").unwrap(), (vec![], vec![1.5]));
    assert_eq!(file.read_f32("empty").unwrap(), (vec![0, 3], vec![]));
    assert!(matches!(file.read_f32("text"), Err(H5Error::Type { .. })));
    assert!(matches!(file.read_i64("scalar"), Err(H5Error::Type { .. })));
}

#[test]
fn chunked_and_compressed_storage() {
    let file = open("types.h5");
    assert_eq!(file.dataset_shape("chunked").unwrap(), [100, 30]);
    assert_eq!(file.read_f32("chunked").unwrap().1, counting(0, 3000));
    let first_two_columns: Vec<f32> = (0..100).flat_map(|row| counting(row * 30, 2)).collect();
    assert_eq!(file.read_f32("resizable").unwrap(), (vec![100, 2], first_two_columns));
}

#[test]
fn attributes_of_every_kind() {
    let file = open("types.h5");
    let text = |name| file.attr_string("attributes", name).unwrap();
    let list = |name| file.attr_strings("attributes", name).unwrap();
    assert_eq!(text("variable").as_deref(), Some("größe"));
    assert_eq!(text("fixed").as_deref(), Some("plain"));
    assert_eq!(text("absent"), None);
    assert_eq!(list("list").unwrap(), ["conv2d", "dense_1"]);
    assert_eq!(list("variable_list").unwrap(), ["a", "bcd"]);
    assert_eq!(list("names").unwrap(), ["a", "b", "c"], "split into names0 and names1");
    assert_eq!(list("nothing"), Some(vec![]));
    assert_eq!(list("absent"), None);
    let error = file.attr_string("attributes", "number").unwrap_err();
    assert!(error.to_string().contains("attributes@number"), "{error}");
}

#[test]
fn the_newest_layout() {
    let file = open("latest.h5");
    assert_eq!(file.read_f32("a/b").unwrap(), (vec![3], vec![1.0, 2.0, 3.0]));
    assert_eq!(file.attr_string("a", "name").unwrap().as_deref(), Some("latest"));
    assert_eq!(file.children("many").unwrap().len(), 20, "a group too large for compact links");
    assert_eq!(file.read_f32("many/19").unwrap().1, [19.0]);
}

#[test]
fn what_is_not_there_is_named() {
    let file = open("keras3.weights.h5");
    for (result, path) in [
        (file.read_f32("layers/conv2d/vars/0").map(|_| ()), "layers/conv2d/vars/0"),
        (file.read_f32("layers/dense").map(|_| ()), "layers/dense"),
        (file.children("layers/dense/vars/0").map(|_| ()), "layers/dense/vars/0"),
        (file.attr_string("nowhere", "name").map(|_| ()), "nowhere"),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, H5Error::Missing { .. }), "{error:?}");
        assert!(error.to_string().contains(path), "{error}");
    }
    assert!(file.contains("layers/dense/vars/0").unwrap());
    assert!(!file.contains("layers/dense/vars/2").unwrap());
}

#[test]
fn one_budget_spans_all_reads_of_a_file() {
    let file = open("types.h5").with_budget(3 * 24);
    assert!(file.read_f32("floats/<f4").is_ok());
    assert!(file.read_f32("floats/>f8").is_ok(), "48 bytes as stored");
    let error = file.read_f32("scalar").unwrap_err();
    assert!(matches!(error, H5Error::Budget { declared: 4, left: 0, .. }), "{error:?}");
}

#[test]
fn what_is_written_reads_back() {
    let large = counting(0, 40_000);
    let long: Vec<String> = (0..5000).map(|index| format!("a_rather_long_weight_name_{index}")).collect();
    let mut writer = H5Writer::new();
    writer.f32("layers/dense/vars/0", &[200, 200], &large).unwrap();
    writer.f32("layers/dense/vars/1", &[3], vec![0.5, -1.0, 2.0]).unwrap();
    writer.f32("empty", &[0, 3], vec![]).unwrap();
    writer.i64("optimizer/vars/0", &[], vec![7]).unwrap();
    writer.i32("large_i32", &[20_000], vec![-3; 20_000]).unwrap();
    writer.group("layers/flatten/vars").unwrap();
    writer.attr_string("layers/flatten/vars", "name", "größe").unwrap();
    writer.attr_string("", "model_config", &"x".repeat(100_000)).unwrap();
    writer.attr_strings("", "layer_names", &["conv2d", "dense_1"]).unwrap();
    writer.attr_strings("layers", "weight_names", &long).unwrap();
    writer.attr_strings("layers/flatten", "weight_names", &[""; 0]).unwrap();
    let mut bytes = Vec::new();
    writer.write_to(&mut bytes).unwrap();

    let file = H5File::from_bytes(bytes).unwrap();
    assert_eq!(file.read_f32("layers/dense/vars/0").unwrap(), (vec![200, 200], large));
    assert_eq!(file.read_f32("layers/dense/vars/1").unwrap(), (vec![3], vec![0.5, -1.0, 2.0]));
    assert_eq!(file.read_f32("empty").unwrap(), (vec![0, 3], vec![]));
    assert_eq!(file.read_i64("optimizer/vars/0").unwrap(), (vec![], vec![7]));
    assert_eq!(file.read_i64("large_i32").unwrap(), (vec![20_000], vec![-3; 20_000]));
    assert_eq!(file.children("layers/flatten/vars").unwrap(), []);
    assert_eq!(file.attr_string("layers/flatten/vars", "name").unwrap().as_deref(), Some("größe"));
    assert_eq!(file.attr_string("", "model_config").unwrap().unwrap().len(), 100_000);
    assert_eq!(file.attr_strings("", "layer_names").unwrap().unwrap(), ["conv2d", "dense_1"]);
    assert_eq!(file.attr_strings("layers", "weight_names").unwrap().unwrap(), long);
    assert_eq!(file.attr_strings("layers/flatten", "weight_names").unwrap(), Some(vec![]));
}

#[test]
fn the_writer_refuses_what_makes_no_tree() {
    let mut writer = H5Writer::new();
    writer.f32("a/b", &[2], vec![1.0, 2.0]).unwrap();
    writer.attr_string("a", "name", "a").unwrap();
    assert!(matches!(writer.f32("a/c", &[3], vec![1.0]), Err(H5Error::Shape { received: 1, .. })));
    assert!(matches!(writer.f32("a/b", &[], vec![1.0]), Err(H5Error::Name { .. })));
    assert!(matches!(writer.f32("a", &[], vec![1.0]), Err(H5Error::Name { .. })));
    assert!(matches!(writer.f32("", &[], vec![1.0]), Err(H5Error::Name { .. })));
    assert!(matches!(writer.group("a/b/c"), Err(H5Error::Name { .. })));
    assert!(matches!(writer.attr_string("a", "name", "b"), Err(H5Error::Name { .. })));
    assert!(matches!(writer.group(&"a/".repeat(100)), Err(H5Error::Depth { .. })));
}

#[test]
fn a_writer_that_fails_says_so() {
    /// An output with this many bytes left.
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut writer = H5Writer::new();
    writer.f32("a", &[100_000], vec![1.0; 100_000]).unwrap();
    for capacity in [0, 100, 100_000] {
        let error = writer.write_to(Full(capacity)).unwrap_err();
        assert!(matches!(error, H5Error::Write { .. }), "{error:?}");
    }
}
