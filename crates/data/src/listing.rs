//! What lies in a folder, in the order of Keras' `index_directory`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::Skipped;
use crate::file::unreadable;

/// The extensions by which files count as photos: Keras' and WebP, in any case.
const EXTENSIONS: [&str; 6] = ["bmp", "gif", "jpeg", "jpg", "png", "webp"];

/// Formats of photos that aren't read; they are named as skipped, for a folder full of them would else seem empty.
const UNREAD_EXTENSIONS: [&str; 5] = ["avif", "heic", "heif", "tif", "tiff"];

/// What an entry of a folder is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder { linked: bool },
    Photo,
    UnreadPhoto,
    Other,
}

/// The entries of `folder` that aren't hidden, sorted by name, byte by byte.
pub(crate) fn entries(folder: &Path) -> io::Result<Vec<(PathBuf, Kind)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            entries.push((entry.path(), kind(&entry)?));
        }
    }
    entries.sort_by(|(a, _), (b, _)| order(a).cmp(&order(b)));
    Ok(entries)
}

/// The photos in `class` and the folders below it, in order; what can't be used is added to `skipped`.
pub(crate) fn photos_below(class: &Path, skipped: &mut Vec<Skipped>) -> io::Result<Vec<PathBuf>> {
    let mut photos = Vec::new();
    let mut folders = Vec::new();
    let mut found = entries(class)?;
    loop {
        for (path, kind) in found {
            match kind {
                Kind::Photo => photos.push(path),
                Kind::Folder { linked: false } => folders.push(path),
                // Keras doesn't follow these either: they may lead round in a circle.
                Kind::Folder { linked: true } => {
                    skipped.push(Skipped { path, reason: "a link to a folder isn't followed".into() })
                }
                Kind::UnreadPhoto => {
                    let reason = "AVIF, HEIC and TIFF aren't read; convert it to JPEG or PNG".to_owned();
                    skipped.push(Skipped { path, reason });
                }
                Kind::Other => {}
            }
        }
        let Some(folder) = folders.pop() else { break };
        found = entries(&folder).unwrap_or_else(|error| {
            skipped.push(Skipped { path: folder, reason: unreadable(&error) });
            Vec::new()
        });
    }
    photos.sort_by(|a, b| order(a).cmp(&order(b)));
    Ok(photos)
}

fn kind(entry: &fs::DirEntry) -> io::Result<Kind> {
    let file_type = entry.file_type()?;
    let linked = file_type.is_symlink();
    // A link that leads nowhere is no folder: reading it will tell.
    if file_type.is_dir() || linked && entry.path().is_dir() {
        return Ok(Kind::Folder { linked });
    }
    let path = entry.path();
    let extension = path.extension().unwrap_or_default();
    let is_one_of = |extensions: &[&str]| extensions.iter().any(|known| extension.eq_ignore_ascii_case(known));
    if is_one_of(&EXTENSIONS) {
        Ok(Kind::Photo)
    } else if is_one_of(&UNREAD_EXTENSIONS) {
        Ok(Kind::UnreadPhoto)
    } else {
        Ok(Kind::Other)
    }
}

/// What Python sorts by: the folder's whole path, then the name, as strings. (`Path` compares part by part, and would put
/// `a/b` before `a-b`.)
fn order(path: &Path) -> (&[u8], &[u8]) {
    let folder = path.parent().unwrap_or(Path::new(""));
    (folder.as_os_str().as_encoded_bytes(), path.file_name().unwrap_or_default().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(folder: &Path, files: &[&str]) {
        for file in files {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }

    fn names(root: &Path, paths: &[PathBuf]) -> Vec<String> {
        paths.iter().map(|path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()).collect()
    }

    /// The order that `image_dataset_from_directory(shuffle=False)` of Keras 3.15 gives for these files in a class folder.
    #[test]
    fn photos_come_in_the_order_of_keras() {
        let class = tempfile::tempdir().unwrap();
        make(
            class.path(),
            &["b/1.jpg", "a/b/2.png", "a-c/3.gif", "10.bmp", "9.jpeg", "Z.jpg", "a/é.jpg", "a/z.jpg", "a.jpg"],
        );
        let photos = photos_below(class.path(), &mut Vec::new()).unwrap();
        let expected =
            ["10.bmp", "9.jpeg", "Z.jpg", "a.jpg", "a/z.jpg", "a/é.jpg", "a-c/3.gif", "a/b/2.png", "b/1.jpg"];
        assert_eq!(names(class.path(), &photos), expected);
    }

    #[test]
    fn extensions_count_in_any_case_and_hidden_files_never() {
        let class = tempfile::tempdir().unwrap();
        make(class.path(), &["a.JPG", "b.WebP", "c.txt", "d", "jpg", ".e.jpg", ".hidden/f.jpg", "Thumbs.db"]);
        let photos = photos_below(class.path(), &mut Vec::new()).unwrap();
        assert_eq!(names(class.path(), &photos), ["a.JPG", "b.WebP"]);
    }

    #[test]
    fn photos_in_formats_that_are_not_read_are_skipped_by_name() {
        let class = tempfile::tempdir().unwrap();
        make(class.path(), &["a.HEIC", "b.tiff", "c.png"]);
        let mut skipped = Vec::new();
        let photos = photos_below(class.path(), &mut skipped).unwrap();
        assert_eq!(names(class.path(), &photos), ["c.png"]);
        let paths: Vec<PathBuf> = skipped.iter().map(|skipped| skipped.path.clone()).collect();
        assert_eq!(names(class.path(), &paths), ["a.HEIC", "b.tiff"]);
        assert!(skipped[0].reason.contains("convert it"));
    }

    #[cfg(unix)]
    #[test]
    fn links_to_files_count_and_links_to_folders_end_there() {
        let class = tempfile::tempdir().unwrap();
        make(class.path(), &["a.jpg"]);
        let link =
            |to: &str, name: &str| std::os::unix::fs::symlink(class.path().join(to), class.path().join(name)).unwrap();
        link("a.jpg", "b.jpg");
        link("nowhere", "c.jpg");
        link("", "d.jpg");
        let mut skipped = Vec::new();
        let photos = photos_below(class.path(), &mut skipped).unwrap();
        assert_eq!(names(class.path(), &photos), ["a.jpg", "b.jpg", "c.jpg"]);
        assert_eq!(
            skipped,
            [Skipped { path: class.path().join("d.jpg"), reason: "a link to a folder isn't followed".into() }]
        );
    }
}
