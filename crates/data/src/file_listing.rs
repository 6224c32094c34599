//! Lists the photo files of a directory tree, in the order of Keras' `index_directory`.
//!
//! File names decide here, and the first bytes of files without an extension ([`photo_extension`]);
//! [`verification`](crate::verification) reads the files.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::file::unreadable;
use crate::photo::SkippedFile;
use crate::photo_extension;
use crate::photo_listing::unsupported;

/// How the scan treats an entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Folder {
        is_symlink: bool,
    },
    Photo,
    /// An image in a format that can't be decoded here.
    UnsupportedPhoto,
    /// Any other file; ignored.
    Other,
}

/// The entries of `folder`, sorted bytewise by name. Hidden ones (`.name`) are left out.
pub(crate) fn entries(folder: &Path) -> io::Result<Vec<(PathBuf, EntryKind)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            entries.push((entry.path(), entry_kind(&entry)?));
        }
    }
    entries.sort_by(|(a, _), (b, _)| sort_key(a).cmp(&sort_key(b)));
    Ok(entries)
}

/// The photo files in the folder `class` and its subfolders, sorted. Files and folders that can't be used are added to `skipped`.
pub(crate) fn photos_below(class: &Path, skipped: &mut Vec<SkippedFile>) -> io::Result<Vec<PathBuf>> {
    let mut photos = Vec::new();
    let mut folders = Vec::new();
    let mut found = entries(class)?;
    loop {
        for (path, kind) in found {
            match kind {
                EntryKind::Photo => photos.push(path),
                EntryKind::Folder { is_symlink: false } => folders.push(path),
                // A symbolic link may form a cycle. Keras doesn't follow such links either.
                EntryKind::Folder { is_symlink: true } => {
                    skipped.push(SkippedFile { path, reason: "a link to a folder isn't followed".into() })
                }
                EntryKind::UnsupportedPhoto => skipped.push(unsupported(path)),
                EntryKind::Other => {}
            }
        }
        let Some(folder) = folders.pop() else { break };
        found = entries(&folder).unwrap_or_else(|error| {
            skipped.push(SkippedFile { path: folder, reason: unreadable(&error) });
            Vec::new()
        });
    }
    photos.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    Ok(photos)
}

fn entry_kind(entry: &fs::DirEntry) -> io::Result<EntryKind> {
    let file_type = entry.file_type()?;
    let is_symlink = file_type.is_symlink();
    // A dangling link counts as a file; reading it gives the error later.
    if file_type.is_dir() || is_symlink && entry.path().is_dir() {
        return Ok(EntryKind::Folder { is_symlink });
    }
    let path = entry.path();
    if photo_extension::is_photo(&path) {
        Ok(EntryKind::Photo)
    } else if photo_extension::unsupported(&path).is_some() {
        Ok(EntryKind::UnsupportedPhoto)
    } else {
        Ok(EntryKind::Other)
    }
}

/// The sort key of Keras' order: the folder's path as a byte string, then the file name.
///
/// `Path`'s own order compares component by component, and would put `a/b` before `a-b`.
pub(crate) fn sort_key(path: &Path) -> (&[u8], &[u8]) {
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

    /// The expected order is that of `image_dataset_from_directory(shuffle=False)` in Keras 3.15.
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
            [SkippedFile { path: class.path().join("d.jpg"), reason: "a link to a folder isn't followed".into() }]
        );
    }
}
