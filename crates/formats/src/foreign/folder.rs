//! Recognition of folders by the names in them.

use std::path::Path;

use super::Foreign;
use crate::keras;

/// Maximum number of names that are looked at.
const NAMES: usize = 1000;

/// The kind of a folder; `None` for an unzipped `.keras` file.
pub(super) fn kind(folder: &Path) -> Option<Foreign> {
    if keras::is_unzipped(folder) {
        return None;
    }
    if let Some(kind) = saved_model(folder) {
        return Some(kind);
    }
    let has = |name: &str| folder.join(name).is_file();
    let transformers = ["pytorch_model.bin", "model.safetensors", "tf_model.h5", "model.safetensors.index.json"];
    if has("config.json") && transformers.iter().any(|weights| has(weights)) {
        return Some(Foreign::Transformers);
    }
    let names = names(folder);
    let with = |end: &str| names.iter().find(|name| name.ends_with(end));
    Some(if has("checkpoint") || names.iter().any(|name| is_checkpoint_data(name)) {
        Foreign::TensorFlowCheckpoint
    } else if has("model.json") && Foreign::of(&folder.join("model.json")) == Some(Foreign::TensorFlowJs) {
        Foreign::TensorFlowJs
    } else {
        let model = with(".keras").or_else(|| with(".h5").filter(|name| !name.ends_with(".weights.h5")));
        model.map_or(Foreign::Folder, |name| Foreign::FolderWithModel(folder.join(name).display().to_string()))
    })
}

/// Whether a file is part of a checkpoint of TensorFlow, by its name: `NAME.data-00000-of-00001`, or `NAME.index` beside it.
pub(super) fn is_of_checkpoint(path: &Path) -> bool {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let data = path.with_extension("data-00000-of-00001");
    is_checkpoint_data(&name(path)) || (name(path).ends_with(".index") && data.is_file())
}

/// Whether a file has the values of a checkpoint, by its name.
fn is_checkpoint_data(name: &str) -> bool {
    name.rsplit_once(".data-")
        .is_some_and(|(_, part)| part.starts_with(|c: char| c.is_ascii_digit()) && part.contains("-of-"))
}

/// The SavedModel in a folder, if it is one.
pub(super) fn saved_model(folder: &Path) -> Option<Foreign> {
    let has = |name: &str| folder.join(name).is_file();
    // Only Keras 2 writes its layers beside the graph.
    let kind = Foreign::SavedModel { of_keras_2: has("keras_metadata.pb") };
    (has("saved_model.pb") || has("saved_model.pbtxt")).then_some(kind)
}

/// The names in a folder, sorted; empty if it can't be read.
fn names(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().into_iter().flatten().take(NAMES).flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_tell_the_kind() {
        for (files, expected) in [
            (&[][..], Some(Foreign::Folder)),
            (&["a.jpg", "old.weights.h5"], Some(Foreign::Folder)),
            (&["saved_model.pb", "fingerprint.pb"], Some(Foreign::SavedModel { of_keras_2: false })),
            (&["saved_model.pb", "keras_metadata.pb"], Some(Foreign::SavedModel { of_keras_2: true })),
            (&["config.json", "model.safetensors"], Some(Foreign::Transformers)),
            (&["ckpt.index", "ckpt.data-00000-of-00001"], Some(Foreign::TensorFlowCheckpoint)),
            (&["ckpt.data-00001-of-00002"], Some(Foreign::TensorFlowCheckpoint)),
            (&["model.json", "notes.data-old"], Some(Foreign::Folder)),
            (&["config.json", "metadata.json", "model.weights.h5"], None),
        ] {
            let folder = tempfile::tempdir().unwrap();
            files.iter().for_each(|name| std::fs::write(folder.path().join(name), "x").unwrap());
            assert_eq!(kind(folder.path()), expected, "{files:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model.json"), r#"{"modelTopology": {}}"#).unwrap();
        assert_eq!(kind(folder.path()), Some(Foreign::TensorFlowJs));
        let [index, data] = ["ckpt.index", "ckpt.data-00000-of-00001"].map(|name| folder.path().join(name));
        std::fs::write(&index, "x").unwrap();
        assert_eq!(Foreign::of(&index), None);
        std::fs::write(&data, "x").unwrap();
        assert_eq!([index, data].map(|path| Foreign::of(&path)), [const { Some(Foreign::TensorFlowCheckpoint) }; 2]);
        let folder = tempfile::tempdir().unwrap();
        ["b.keras", "a.keras", "c.h5"].iter().for_each(|name| std::fs::write(folder.path().join(name), "x").unwrap());
        let first = folder.path().join("a.keras").display().to_string();
        assert_eq!(kind(folder.path()), Some(Foreign::FolderWithModel(first)));
    }
}
