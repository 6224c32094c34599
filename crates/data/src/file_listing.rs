//! Lists the photo files of a directory tree, in the order of Keras' `index_directory`.
//!
//! File names decide here, and the first bytes of files without an extension ([`photo_extension`]);
//! [`verification`](crate::verification) reads the files.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::file::unreadable;
use crate::left_out::LeftOut;
use crate::photo::SkippedFile;
use crate::photo_extension;
use crate::photo_listing::unsupported;
use crate::system_files::{is_system_file, is_system_folder};

/// How the scan treats an entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Folder {
        is_symlink: bool,
    },
    Photo,
    /// An image in a format that can't be decoded here.
    UnsupportedPhoto,
    /// A file that is no image.
    Other,
    HiddenFile,
    /// A hidden folder or one with thumbnails, deleted files or metadata.
    SystemFolder,
}

/// What a scan doesn't use.
#[derive(Debug, Default)]
pub(crate) struct Unused {
    /// Files and folders that can't be used, each with the reason.
    pub(crate) skipped: Vec<SkippedFile>,
    /// Files and folders that aren't photos.
    pub(crate) left_out: LeftOut,
}

/// The folders and images in `folder`, sorted bytewise by name. Everything else is counted in `left_out`.
pub(crate) fn entries(folder: &Path, left_out: &mut LeftOut) -> io::Result<Vec<(PathBuf, EntryKind)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        match entry_kind(&entry, &path)? {
            EntryKind::Other => left_out.add_file(&path),
            EntryKind::HiddenFile => left_out.add_hidden_file(),
            EntryKind::SystemFolder => left_out.add_folder(&path),
            kind => entries.push((path, kind)),
        }
    }
    entries.sort_by(|(a, _), (b, _)| sort_key(a).cmp(&sort_key(b)));
    Ok(entries)
}

/// The photo files in the folder `class` and its subfolders, sorted. All other files and folders are added to `unused`.
pub(crate) fn photos_below(class: &Path, unused: &mut Unused) -> io::Result<Vec<PathBuf>> {
    let Unused { skipped, left_out } = unused;
    let mut photos = Vec::new();
    let mut folders = Vec::new();
    let mut found = entries(class, left_out)?;
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
                EntryKind::Other | EntryKind::HiddenFile | EntryKind::SystemFolder => {}
            }
        }
        let Some(folder) = folders.pop() else { break };
        found = entries(&folder, left_out).unwrap_or_else(|error| {
            skipped.push(SkippedFile { path: folder, reason: unreadable(&error) });
            Vec::new()
        });
    }
    photos.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    Ok(photos)
}

fn entry_kind(entry: &fs::DirEntry, path: &Path) -> io::Result<EntryKind> {
    let (file_type, name) = (entry.file_type()?, entry.file_name());
    let is_symlink = file_type.is_symlink();
    // A dangling link counts as a file; reading it gives the error later.
    if file_type.is_dir() || is_symlink && path.is_dir() {
        return Ok(if is_system_folder(&name) { EntryKind::SystemFolder } else { EntryKind::Folder { is_symlink } });
    }
    if is_system_file(&name) {
        Ok(EntryKind::HiddenFile)
    } else if photo_extension::is_photo(path) {
        Ok(EntryKind::Photo)
    } else if photo_extension::unsupported(path).is_some() {
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
        let photos = photos_below(class.path(), &mut Unused::default()).unwrap();
        let expected =
            ["10.bmp", "9.jpeg", "Z.jpg", "a.jpg", "a/z.jpg", "a/é.jpg", "a-c/3.gif", "a/b/2.png", "b/1.jpg"];
        assert_eq!(names(class.path(), &photos), expected);
    }

    #[test]
    fn extensions_count_in_any_case_and_hidden_files_never() {
        let class = tempfile::tempdir().unwrap();
        make(class.path(), &["a.JPG", "b.WebP", "c.txt", "d", "jpg", ".e.jpg", ".hidden/f.jpg", "Thumbs.db"]);
        let photos = photos_below(class.path(), &mut Unused::default()).unwrap();
        assert_eq!(names(class.path(), &photos), ["a.JPG", "b.WebP"]);
    }

    #[test]
    fn system_folders_are_not_looked_into_and_every_other_file_is_counted() {
        let class = tempfile::tempdir().unwrap();
        make(
            class.path(),
            &[
                "a.jpg",
                "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
                "b/.@__thumb/s100a.jpg",
                "b/#recycle/c.jpg",
                "b/$Recycle.Bin/d.jpg",
                "__MACOSX/._a.jpg",
                "Trip Previews.lrdata/e.jpg",
                "._a.jpg",
                "b/Thumbs.db",
                "b/notes.txt",
                "thumbs/f.jpg",
            ],
        );
        let mut unused = Unused::default();
        let photos = photos_below(class.path(), &mut unused).unwrap();
        assert_eq!(names(class.path(), &photos), ["a.jpg", "thumbs/f.jpg"]);
        let LeftOut { extensions, others, hidden, folders, folder } = unused.left_out;
        assert_eq!((extensions, others, hidden, folders), ([("txt".to_owned(), 1)].into(), 0, 2, 6));
        assert!(folder.is_some() && unused.skipped.is_empty());
    }

    #[test]
    fn photos_in_formats_that_are_not_read_are_skipped_by_name() {
        let class = tempfile::tempdir().unwrap();
        make(class.path(), &["a.HEIC", "b.jxl", "c.png"]);
        let mut unused = Unused::default();
        let photos = photos_below(class.path(), &mut unused).unwrap();
        let skipped = unused.skipped;
        assert_eq!(names(class.path(), &photos), ["c.png"]);
        let paths: Vec<PathBuf> = skipped.iter().map(|skipped| skipped.path.clone()).collect();
        assert_eq!(names(class.path(), &paths), ["a.HEIC", "b.jxl"]);
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
        let mut unused = Unused::default();
        let photos = photos_below(class.path(), &mut unused).unwrap();
        let skipped = unused.skipped;
        assert_eq!(names(class.path(), &photos), ["a.jpg", "b.jpg", "c.jpg"]);
        assert_eq!(
            skipped,
            [SkippedFile { path: class.path().join("d.jpg"), reason: "a link to a folder isn't followed".into() }]
        );
    }
}
