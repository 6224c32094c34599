//! A folder of photos, one subfolder per class.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use engraft_nn::{Error, ErrorKind, Result};

use crate::file::Problem;
use crate::listing::{Kind, entries, photos_below};
use crate::screen::readable;

/// A photo found to be readable.
///
/// ```
/// use engraft_data::Photo;
/// let photo = |path: &str, digest| Photo { path: path.into(), class: 0, digest };
/// let (photo, copy) = (photo("cat/1.jpg", [7; 32]), photo("cat/copy of 1.jpg", [7; 32]));
/// assert!(photo.path != copy.path && photo.digest == copy.digest);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Photo {
    /// Its file.
    pub path: PathBuf,
    /// Number of its class.
    pub class: usize,
    /// SHA-256 of the file's content: equal digests are the same photo.
    pub digest: [u8; 32],
}

/// A file that was left out, and why.
///
/// ```
/// # // A BMP image of one red pixel.
/// # let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
/// # bmp.extend([0; 24]);
/// # bmp.extend([0, 0, 255, 0]);
/// # let photos = tempfile::tempdir()?;
/// # let dir = photos.path();
/// # for class in ["cat", "dog"] {
/// #     std::fs::create_dir(dir.join(class))?;
/// #     std::fs::write(dir.join(class).join("1.bmp"), &bmp)?;
/// # }
///
/// use engraft_data::PhotoFolder;
/// std::fs::write(dir.join("dog/2.jpg"), "no photo")?;
/// let folder = PhotoFolder::scan(dir, &mut |_done, _total| {})?;
/// let [bad] = folder.skipped.as_slice() else { panic!("{:?}", folder.skipped) };
/// assert!(bad.path.ends_with("dog/2.jpg"));
/// assert!(bad.reason.contains("expected a JPEG"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// The photos of a folder, in the order of Keras' `image_dataset_from_directory(shuffle=False)`: by class, then by
/// folder, then by file name, each compared byte by byte.
///
/// As in Keras, folders inside a class' folder count to that class. Unlike Keras, hidden files are left out (macOS leaves
/// `._photo.jpg` beside photos), WebP is read, and a photo that fails to decode is listed instead of stopping the run.
///
/// ```
/// # // A BMP image of one red pixel.
/// # let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
/// # bmp.extend([0; 24]);
/// # bmp.extend([0, 0, 255, 0]);
/// # let photos = tempfile::tempdir()?;
/// # let dir = photos.path();
/// # for class in ["cat", "dog"] {
/// #     std::fs::create_dir(dir.join(class))?;
/// #     std::fs::write(dir.join(class).join("1.bmp"), &bmp)?;
/// # }
///
/// use engraft_data::PhotoFolder;
/// // `dir` holds cat/1.bmp and dog/1.bmp.
/// let folder = PhotoFolder::scan(dir, &mut |_done, _total| {})?;
/// assert_eq!(folder.classes, ["cat", "dog"]);
/// assert!(folder.photos[1].path.ends_with("dog/1.bmp"));
/// assert_eq!(folder.photos[1].class, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhotoFolder {
    /// Class names by number.
    pub classes: Vec<String>,
    /// Readable photos.
    pub photos: Vec<Photo>,
    /// Files left out.
    pub skipped: Vec<Skipped>,
}

impl PhotoFolder {
    /// Reads and decodes every photo below `dir` once; its subfolders, sorted by name, are the classes.
    ///
    /// `progress` is called with how many photos are done and how many there are.
    ///
    /// # Errors
    /// Where `dir` is missing, no folder, unreadable or empty, holds fewer than two class folders, or a class holds no
    /// readable photo. A bad photo is no error: it is listed in [`skipped`](Self::skipped).
    pub fn scan(dir: &Path, progress: &mut dyn FnMut(usize, usize)) -> Result<Self> {
        let (classes, mut skipped) = class_folders(dir)?;
        if let [only] = classes.as_slice() {
            let error = Error::new(dir.display(), "folders of two or more classes", format_args!("one, `{only}`"));
            return Err(error
                .with_kind(ErrorKind::InvalidData)
                .hint("put photos of another class into a folder of their own beside it"));
        }
        let found = photos_of(dir, &classes, &classes, &mut skipped)?;
        // Asked before anything is read, too: the user needn't wait for it.
        require_each(dir, &classes, found.iter().map(|(_, class)| *class), &skipped)?;
        let photos = readable(&found, &mut skipped, progress);
        require_each(dir, &classes, photos.iter().map(|photo| photo.class), &skipped)?;
        Ok(Self { classes, photos, skipped })
    }

    /// As [`scan`](Self::scan), with the classes and their numbers given: for photos that a trained model is to meet.
    /// Classes may be missing from the folder, or be without photos.
    ///
    /// # Errors
    /// As [`scan`](Self::scan), but a single photo is enough; and where a subfolder is none of `classes`.
    pub fn scan_as(dir: &Path, classes: &[String], progress: &mut dyn FnMut(usize, usize)) -> Result<Self> {
        let (folders, mut skipped) = class_folders(dir)?;
        if let Some(unknown) = folders.iter().find(|folder| !classes.contains(folder)) {
            let expected = format!("a folder named after one of the classes {}", classes.join(", "));
            let error = Error::new(dir.join(unknown).display(), expected, format_args!("`{unknown}`"));
            return Err(error.with_kind(ErrorKind::InvalidData).hint("rename the folder, or move it elsewhere"));
        }
        let found = photos_of(dir, classes, &folders, &mut skipped)?;
        let photos = readable(&found, &mut skipped, progress);
        if photos.is_empty() {
            return Err(no_photos(dir, &skipped));
        }
        Ok(Self { classes: classes.to_vec(), photos, skipped })
    }
}

/// The names of the class folders in `dir`, sorted, and the photos that lie beside them as skipped.
fn class_folders(dir: &Path) -> Result<(Vec<String>, Vec<Skipped>)> {
    let hint = "give a folder that holds one folder of photos per class";
    let entries = entries(dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotADirectory => Error::new(dir.display(), "a folder", "a file").caused_by(error).hint(hint),
        io::ErrorKind::NotFound => {
            Error::because(dir.display(), "no such folder").with_kind(ErrorKind::NotFound).caused_by(error).hint(hint)
        }
        _ => Problem::from(error).at(dir.display()),
    })?;
    let is_empty = entries.is_empty();
    let (mut folders, mut loose) = (Vec::new(), Vec::new());
    for (path, kind) in entries {
        match (kind, path.file_name().and_then(|name| name.to_str())) {
            (Kind::Folder { .. }, Some(name)) => folders.push(name.to_owned()),
            // It would travel inside models, where text is UTF-8.
            (Kind::Folder { .. }, None) => {
                return Err(
                    Error::because(path.display(), "expected a class name in UTF-8").with_kind(ErrorKind::InvalidData)
                );
            }
            (Kind::Photo, _) => loose.push(Skipped { path, reason: "lies outside the class folders".to_owned() }),
            (Kind::UnreadPhoto | Kind::Other, _) => {}
        }
    }
    if !folders.is_empty() {
        return Ok((folders, loose));
    }
    let received = match loose.len() {
        0 if is_empty => "an empty folder".to_owned(),
        0 => "no folder in it".to_owned(),
        photos => format!("photos lying directly in it ({photos})"),
    };
    Err(Error::new(dir.display(), "one folder per class", received)
        .with_kind(ErrorKind::InvalidData)
        .hint("make a folder for each class and put its photos there"))
}

/// The photos of those `classes` that are among the `folders` of `dir`, each with the number of its class.
fn photos_of(
    dir: &Path,
    classes: &[String],
    folders: &[String],
    skipped: &mut Vec<Skipped>,
) -> Result<Vec<(PathBuf, usize)>> {
    let mut found = Vec::new();
    for (class, name) in classes.iter().enumerate().filter(|(_, name)| folders.contains(name)) {
        let path = dir.join(name);
        let photos = photos_below(&path, skipped);
        let photos = photos.map_err(|error| Problem::from(error).at(path.display()))?;
        found.extend(photos.into_iter().map(|path| (path, class)));
    }
    Ok(found)
}

/// An error unless every one of `classes` is among `found`, the classes of photos.
fn require_each(dir: &Path, classes: &[String], found: impl Iterator<Item = usize>, skipped: &[Skipped]) -> Result<()> {
    let found: HashSet<usize> = found.collect();
    match (0..classes.len()).find(|class| !found.contains(class)) {
        Some(class) => Err(no_photos(&dir.join(&classes[class]), skipped)),
        None => Ok(()),
    }
}

/// The error that `folder` holds no photo, or only such as were `skipped`.
fn no_photos(folder: &Path, skipped: &[Skipped]) -> Error {
    let bad: Vec<&Skipped> = skipped.iter().filter(|skipped| skipped.path.starts_with(folder)).collect();
    let received = match bad.first() {
        None => "none".to_owned(),
        Some(first) => format!("{} that can't be used, such as {}: {}", bad.len(), first.path.display(), first.reason),
    };
    Error::new(folder.display(), "at least one readable photo", received)
        .with_kind(ErrorKind::InvalidData)
        .hint("put photos there, as JPEG, PNG, GIF, BMP or WebP files; or remove the folder")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    const PHOTO: &[u8] = include_bytes!("../testdata/orientation_1.jpg");
    const OTHER_PHOTO: &[u8] = include_bytes!("../testdata/rgba.png");

    fn folder(files: &[(&str, &[u8])]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    fn scan(folder: &TempDir) -> Result<PhotoFolder> {
        PhotoFolder::scan(folder.path(), &mut |_, _| {})
    }

    fn scan_as(folder: &TempDir, classes: &[&str]) -> Result<PhotoFolder> {
        let classes: Vec<String> = classes.iter().map(|&class| class.to_owned()).collect();
        PhotoFolder::scan_as(folder.path(), &classes, &mut |_, _| {})
    }

    fn names<'a>(folder: &TempDir, paths: impl Iterator<Item = &'a PathBuf>) -> Vec<String> {
        paths.map(|path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn classes_are_the_sorted_folders_and_equal_content_has_equal_digests() {
        let dir = folder(&[
            ("dog/1.jpg", PHOTO),
            ("Cat/2.jpg", PHOTO),
            ("dog/pups/3.png", OTHER_PHOTO),
            (".git/4.jpg", PHOTO),
        ]);
        let PhotoFolder { classes, photos, skipped } = scan(&dir).unwrap();
        assert_eq!(classes, ["Cat", "dog"]);
        assert_eq!(names(&dir, photos.iter().map(|photo| &photo.path)), ["Cat/2.jpg", "dog/1.jpg", "dog/pups/3.png"]);
        assert_eq!(photos.iter().map(|photo| photo.class).collect::<Vec<_>>(), [0, 1, 1]);
        assert_eq!((photos[0].digest == photos[1].digest, photos[1].digest == photos[2].digest), (true, false));
        assert_eq!(skipped, []);
    }

    #[test]
    fn bad_photos_are_skipped_with_a_reason_and_left_alone() {
        let bad: [(&str, &[u8], &str); 5] = [
            ("b/cut.jpg", &PHOTO[..PHOTO.len() / 2], "damaged"),
            ("b/empty.png", b"", "empty file"),
            ("b/huge.png", include_bytes!("../testdata/bomb.png"), "60000 x 60000"),
            ("b/note.jpg", b"just a note", "JPEG, PNG, GIF, BMP or WebP"),
            ("stray.jpg", PHOTO, "outside the class folders"),
        ];
        let mut files = vec![("a/1.jpg", PHOTO), ("b/1.jpg", PHOTO)];
        files.extend(bad.map(|(name, content, _)| (name, content)));
        let dir = folder(&files);
        let scanned = scan(&dir).unwrap();
        assert_eq!(scanned.photos.len(), 2);
        assert_eq!(scanned.skipped.len(), bad.len());
        for (name, content, reason) in bad {
            let path = dir.path().join(name);
            let skipped = scanned.skipped.iter().find(|skipped| skipped.path == path).unwrap();
            assert!(skipped.reason.contains(reason), "{name}: {}", skipped.reason);
            assert_eq!(fs::read(path).unwrap(), content);
        }
    }

    #[test]
    fn what_is_no_folder_of_classes_is_an_error_that_says_so() {
        let files = folder(&[("file.jpg", PHOTO)]);
        let error = |path: &str| PhotoFolder::scan(&files.path().join(path), &mut |_, _| {}).unwrap_err().to_string();
        assert!(error("missing").contains("missing: no such folder\nhint: give a folder"));
        assert!(error("file.jpg").contains("expected a folder, received a file"));
        assert!(
            error("").contains(
                "expected one folder per class, received photos lying directly in it (1)\nhint: make a folder"
            )
        );
        let error = |files| scan(&folder(files)).unwrap_err().to_string();
        assert!(error(&[]).contains("received an empty folder"));
        assert!(error(&[("note.txt", b"")]).contains("received no folder in it"));
        assert!(error(&[("a/1.jpg", PHOTO)]).contains("two or more classes, received one, `a`"));
    }

    #[test]
    fn a_class_without_readable_photos_is_named() {
        let error = |file| scan(&folder(&[("a/1.jpg", PHOTO), file])).unwrap_err().to_string();
        let empty = error(("b/note.txt", b""));
        assert!(empty.contains("b: expected at least one readable photo, received none\nhint: "), "{empty}");
        let folder = folder(&[("a/1.jpg", PHOTO), ("b/note.txt", b"")]);
        PhotoFolder::scan(folder.path(), &mut |_, _| panic!("nothing is to be read before that")).unwrap_err();
        let bad = error(("b/2.jpg", b""));
        assert!(
            bad.contains("received 1 that can't be used, such as ") && bad.contains("2.jpg: expected a photo"),
            "{bad}"
        );
    }

    #[test]
    fn given_classes_keep_their_numbers_and_may_be_missing() {
        let dir = folder(&[("cat/1.jpg", PHOTO), ("dog/2.jpg", PHOTO)]);
        let scanned = scan_as(&dir, &["dog", "emu", "cat"]).unwrap();
        assert_eq!(scanned.classes, ["dog", "emu", "cat"]);
        assert_eq!(scanned.photos.iter().map(|photo| photo.class).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn a_folder_that_is_none_of_the_given_classes_is_an_error() {
        let dir = folder(&[("cat/1.jpg", PHOTO), ("cow/2.jpg", PHOTO)]);
        let error = scan_as(&dir, &["cat", "dog"]).unwrap_err().to_string();
        assert!(error.contains("one of the classes cat, dog, received `cow`"), "{error}");
        let error = scan_as(&folder(&[("cat/note.txt", b"")]), &["cat", "dog"]).unwrap_err().to_string();
        assert!(error.contains("at least one readable photo, received none"), "{error}");
    }
}
