//! [`PhotoFolder`]: the photos below a folder, labelled by its subfolders or by a label file.
//!
//! Lists the files ([`file_listing`](crate::file_listing)) and decodes each once ([`verification`](crate::verification)).

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use engraft_nn::{Error, ErrorKind, Result};

use crate::file::PhotoError;
use crate::file_listing::{EntryKind, Unused, entries, photos_below};
use crate::label_file::{LabelFile, read_labels};
use crate::left_out::LeftOut;
use crate::photo::{Photo, SkippedFile};
use crate::photo_listing::unsupported;
use crate::unicode::{escaped, position, positions, twins};
use crate::verification::{KnownPhotos, unreadable, verify};

/// The photos below a folder that has one subfolder per class, like Keras' `image_dataset_from_directory`, or below any folder
/// with a [label file](Self::scan_labels).
///
/// Photos are in the order of `image_dataset_from_directory(shuffle=False)`: by class, then by folder, then by file name, each
/// compared bytewise. As in Keras, photos in nested subfolders belong to the class of the top subfolder.
///
/// Unlike Keras, hidden files and [system folders](crate::is_system_folder) are passed over (macOS writes `._photo.jpg` beside
/// photos), WebP is read, and a photo that fails to decode is reported in [`skipped`](Self::skipped) instead of ending the run.
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
/// assert_eq!(folder.photos[1].class(), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PhotoFolder {
    /// Class names; a class' index is its position here.
    pub classes: Vec<String>,
    /// Readable photos.
    pub photos: Vec<Photo>,
    /// Images and linked folders that can't be used, each with the reason.
    pub skipped: Vec<SkippedFile>,
    /// Files that aren't images, and hidden and system folders.
    pub left_out: LeftOut,
    /// The file that the labels come from; `None` for class folders.
    pub label_file: Option<LabelFile>,
}

impl PhotoFolder {
    /// Whether a photo may have several labels or none: a label file says so.
    ///
    /// It stays true if such photos are left out later, for example because they can't be read.
    pub fn is_multi_label(&self) -> bool {
        self.label_file.as_ref().is_some_and(|labels| labels.is_multi_label)
    }

    /// Decodes every photo below `dir` once, with the subfolders of `dir`, sorted by name, as classes.
    ///
    /// `progress` is called with the number of photos done and the total.
    ///
    /// # Errors
    /// Where `dir` is missing, not a folder, unreadable or empty; where it has fewer than two subfolders, or one whose name is
    /// not UTF-8; where a class has no readable photo. An unreadable photo is no error, but is reported in
    /// [`skipped`](Self::skipped).
    pub fn scan(dir: &Path, progress: &mut dyn FnMut(usize, usize)) -> Result<Self> {
        Self::scan_knowing(dir, &|_| false, progress)
    }

    /// Scans as [`scan`](Self::scan) does, but decodes no photo that is `known` to be readable.
    ///
    /// A program that has the features of a photo from an earlier run need not decode it again. One that decodes the photos later
    /// anyway can claim to know all of them, and hand those that it can't decode to [`skip`](Self::skip).
    ///
    /// ```
    /// # let photos = tempfile::tempdir()?;
    /// # let dir = photos.path();
    /// # for class in ["cat", "dog"] {
    /// #     std::fs::create_dir(dir.join(class))?;
    /// # }
    /// use engraft_data::PhotoFolder;
    /// std::fs::write(dir.join("cat/1.jpg"), "content of a cat")?;
    /// std::fs::write(dir.join("dog/1.jpg"), "content of a dog")?;
    /// let folder = PhotoFolder::scan_knowing(dir, &|_digest| true, &mut |_done, _total| {})?;
    /// assert_eq!((folder.photos.len(), folder.skipped.len()), (2, 0), "nothing was decoded");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`scan`](Self::scan).
    pub fn scan_knowing(dir: &Path, known: KnownPhotos<'_>, progress: &mut dyn FnMut(usize, usize)) -> Result<Self> {
        let (classes, mut unused) = class_folders(dir)?;
        if let [only] = classes.as_slice() {
            let error = Error::new(dir.display(), "folders of two or more classes", format_args!("one, `{only}`"));
            return Err(error
                .with_kind(ErrorKind::InvalidData)
                .hint("put photos of another class into a folder of their own beside it"));
        }
        let found = photos_of(dir, &classes, &classes, &mut unused)?;
        let Unused { mut skipped, left_out } = unused;
        // Checked already here, so that a class without any photo file is reported before the slow decoding starts.
        let require_each = |found: HashSet<usize>, skipped: &[SkippedFile]| {
            let missing = (0..classes.len()).find(|class| !found.contains(class));
            missing.map_or(Ok(()), |class| Err(no_photos(&dir.join(&classes[class]), skipped)))
        };
        require_each(found.iter().flat_map(|(_, labels)| labels).copied().collect(), &skipped)?;
        let photos = verify(&found, known, &mut skipped, progress);
        require_each(labels_of(&photos), &skipped)?;
        Ok(Self { classes, photos, skipped, left_out, label_file: None })
    }

    /// Scans the photos that the CSV file `labels` names: rows of a path, relative to `dir` or absolute, and a label.
    ///
    /// The photos may lie anywhere below `dir`. Several rows for one photo give it several labels, and a row with an empty label
    /// stands for a photo without any. [`LabelFile`] describes the format. Photos are in the order of their labels, then in that
    /// of [`scan`](Self::scan); so a file that labels each photo with the name of its folder gives the same photos in the same
    /// order.
    ///
    /// The classes are the labels, sorted bytewise. With `classes`, those of a trained model, the labels must be among them, and
    /// a class may have no photos. `known` is that of [`scan_knowing`](Self::scan_knowing).
    ///
    /// ```
    /// # // A BMP image of one red pixel.
    /// # let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
    /// # bmp.extend([0; 24]);
    /// # bmp.extend([0, 0, 255, 0]);
    /// # let photos = tempfile::tempdir()?;
    /// # let dir = photos.path();
    /// # for name in ["1.bmp", "2.bmp"] {
    /// #     std::fs::write(dir.join(name), &bmp)?;
    /// # }
    /// use engraft_data::PhotoFolder;
    /// let labels = dir.join("labels.csv");
    /// std::fs::write(&labels, "path,label\n1.bmp,red\n1.bmp,tiny\n2.bmp,red\n")?;
    /// let folder = PhotoFolder::scan_labels(dir, &labels, None, &|_digest| false, &mut |_done, _total| {})?;
    /// assert_eq!(folder.classes, ["red", "tiny"]);
    /// assert!(folder.is_multi_label());
    /// assert_eq!(folder.photos[1].labels, [0, 1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// - `dir` or `labels` can't be read.
    /// - A row has another number of columns, is not UTF-8, exceeds 64 KiB, or its photo is missing; the error names the line.
    /// - There are fewer than two classes, a class has no readable photo, or a label is not one of `classes`.
    /// - Without `classes`: a photo has no label, but none has several.
    pub fn scan_labels(
        dir: &Path,
        labels: &Path,
        classes: Option<&[String]>,
        known: KnownPhotos<'_>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        entries(dir, &mut LeftOut::default())
            .map_err(|error| no_folder(dir, error, "give the folder that the paths in the label file start from"))?;
        let found = read_labels(dir, labels, classes)?;
        let mut skipped = Vec::new();
        let photos = verify(&found.photos, known, &mut skipped, progress);
        let (classes_found, left_out) = (found.classes, found.left_out);
        let folder = Self { classes: classes_found, photos, skipped, left_out, label_file: Some(found.file) };
        let readable = labels_of(&folder.photos);
        match (0..folder.classes.len()).find(|class| !readable.contains(class)) {
            Some(class) if classes.is_none() => Err(folder.without_photos(dir, class)),
            Some(_) if folder.photos.is_empty() => Err(no_photos_in_rows(labels, "", &folder.skipped)),
            _ => Ok(folder),
        }
    }

    /// Gives the classes the order and spelling of `names`, those of a model, if they are the same classes. Returns whether they are.
    ///
    /// Names that differ only in Unicode normalization are the same. On macOS, a folder `café` may have another form than the class
    /// of a model that was trained elsewhere.
    ///
    /// ```
    /// use engraft_data::{Photo, PhotoFolder};
    /// let photo = |label| Photo { path: "1.jpg".into(), labels: vec![label], digest: [0; 32] };
    /// let classes = vec!["cafe\u{301}".to_owned(), "caff".to_owned()];
    /// let mut folder = PhotoFolder { classes, photos: vec![photo(0), photo(1)], ..PhotoFolder::default() };
    /// let names = ["caff".to_owned(), "caf\u{e9}".to_owned()];
    /// assert!(folder.match_classes(&names));
    /// // The photo of `café` comes last now.
    /// assert_eq!((folder.classes.as_slice(), &folder.photos), (&names[..], &vec![photo(0), photo(1)]));
    /// assert!(!folder.match_classes(&["caff".to_owned(), "tea".to_owned()]));
    /// ```
    pub fn match_classes(&mut self, names: &[String]) -> bool {
        let positions: Option<Vec<usize>> = self.classes.iter().map(|class| position(names, class)).collect();
        let Some(positions) = positions.filter(|positions| {
            positions.len() == names.len() && positions.iter().collect::<HashSet<_>>().len() == names.len()
        }) else {
            return false;
        };
        self.classes = names.to_vec();
        for photo in &mut self.photos {
            photo.labels.iter_mut().for_each(|label| *label = positions[*label]);
            photo.labels.sort_unstable();
        }
        self.photos.sort_by(|a, b| a.labels.cmp(&b.labels));
        true
    }

    /// Moves photos that turned out to be unreadable to [`skipped`](Self::skipped).
    ///
    /// `dir` is the folder that was scanned.
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
    /// use engraft_data::{PhotoFolder, SkippedFile};
    /// std::fs::write(dir.join("dog/2.jpg"), "no photo")?;
    /// let mut folder = PhotoFolder::scan_knowing(dir, &|_digest| true, &mut |_done, _total| {})?;
    /// let unreadable: Vec<SkippedFile> = folder.photos.iter().filter_map(|photo| photo.decode().err()).collect();
    /// folder.skip(dir, unreadable)?;
    /// assert_eq!(folder, PhotoFolder::scan(dir, &mut |_done, _total| {})?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A class has no photo left that had one, as in [`scan`](Self::scan).
    pub fn skip(&mut self, dir: &Path, unreadable: Vec<SkippedFile>) -> Result<()> {
        let before = labels_of(&self.photos);
        let paths: HashSet<PathBuf> = unreadable.iter().map(|file| file.path.clone()).collect();
        self.photos.retain(|photo| !paths.contains(&photo.path));
        self.skipped.extend(unreadable);
        let left = labels_of(&self.photos);
        match (0..self.classes.len()).find(|class| before.contains(class) && !left.contains(class)) {
            Some(class) => Err(self.without_photos(dir, class)),
            None => Ok(()),
        }
    }

    /// Decodes the photos that aren't `known`, and moves those that can't be read to [`skipped`](Self::skipped).
    ///
    /// With [`scan_knowing`](Self::scan_knowing) before, it is a [`scan`](Self::scan) in two steps: a program may need the classes to
    /// find out which photos it knows. `dir` is the folder that was scanned.
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
    /// let mut folder = PhotoFolder::scan_knowing(dir, &|_digest| true, &mut |_done, _total| {})?;
    /// assert_eq!(folder.photos.len(), 3);
    /// folder.verify(dir, &|_digest| false, &mut |_done, _total| {})?;
    /// assert_eq!(folder, PhotoFolder::scan(dir, &mut |_done, _total| {})?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A class has no readable photo.
    pub fn verify(&mut self, dir: &Path, known: KnownPhotos<'_>, progress: &mut dyn FnMut(usize, usize)) -> Result<()> {
        let unreadable = unreadable(&self.photos, known, progress);
        self.skip(dir, unreadable)
    }

    /// The error for a class of which no photo is readable.
    fn without_photos(&self, dir: &Path, class: usize) -> Error {
        let class = &self.classes[class];
        match &self.label_file {
            Some(labels) => no_photos_in_rows(&labels.path, &format!(" of the class `{class}`"), &self.skipped),
            None => no_photos(&dir.join(class), &self.skipped),
        }
    }

    /// Scans `dir` with the classes of a trained model, to evaluate the model on its photos.
    ///
    /// A class' index is its position in `classes`, as in the model, and not that of its subfolder. A class may have no
    /// subfolder, or no photos.
    ///
    /// # Errors
    /// As [`scan`](Self::scan), but one subfolder with one readable photo is enough. Also where a subfolder is not named after
    /// one of `classes`.
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
    /// // The model knows emus; `dir` holds cat/1.bmp and dog/1.bmp.
    /// let classes = ["dog", "emu", "cat"].map(str::to_owned);
    /// let folder = PhotoFolder::scan_as(dir, &classes, &mut |_done, _total| {})?;
    /// let labels: Vec<usize> = folder.photos.iter().filter_map(|photo| photo.class()).collect();
    /// assert_eq!(labels, [0, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scan_as(dir: &Path, classes: &[String], progress: &mut dyn FnMut(usize, usize)) -> Result<Self> {
        Self::scan_as_knowing(dir, classes, &|_| false, progress)
    }

    /// Scans as [`scan_as`](Self::scan_as) does, but decodes no photo that is `known` to be readable; see
    /// [`scan_knowing`](Self::scan_knowing).
    ///
    /// ```
    /// # let photos = tempfile::tempdir()?;
    /// # let dir = photos.path();
    /// # std::fs::create_dir(dir.join("cat"))?;
    /// use engraft_data::PhotoFolder;
    /// std::fs::write(dir.join("cat/1.jpg"), "content of a cat")?;
    /// let classes = ["dog", "cat"].map(str::to_owned);
    /// let folder = PhotoFolder::scan_as_knowing(dir, &classes, &|_digest| true, &mut |_done, _total| {})?;
    /// assert_eq!(folder.photos[0].class(), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`scan_as`](Self::scan_as).
    pub fn scan_as_knowing(
        dir: &Path,
        classes: &[String],
        known: KnownPhotos<'_>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        let (folders, mut unused) = class_folders(dir)?;
        if let Some(unknown) = folders.iter().find(|folder| position(classes, folder).is_none()) {
            let expected = format!("a folder named after one of the classes {}", classes.join(", "));
            let error = Error::new(dir.join(unknown).display(), expected, format_args!("`{unknown}`"));
            return Err(error.with_kind(ErrorKind::InvalidData).hint("rename the folder, or move it elsewhere"));
        }
        let found = photos_of(dir, classes, &folders, &mut unused)?;
        let Unused { mut skipped, left_out } = unused;
        let photos = verify(&found, known, &mut skipped, progress);
        if photos.is_empty() {
            return Err(no_photos(dir, &skipped));
        }
        Ok(Self { classes: classes.to_vec(), photos, skipped, left_out, label_file: None })
    }
}

/// The names of the subfolders of `dir`, sorted, and the files directly in `dir`, with the photos as skipped.
fn class_folders(dir: &Path) -> Result<(Vec<String>, Unused)> {
    let hint = "give a folder that holds one folder of photos per class";
    let mut left_out = LeftOut::default();
    let entries = entries(dir, &mut left_out).map_err(|error| no_folder(dir, error, hint))?;
    let is_empty = entries.is_empty() && left_out.is_empty();
    let (mut folders, mut loose) = (Vec::new(), Vec::new());
    for (path, kind) in entries {
        match (kind, path.file_name().and_then(|name| name.to_str())) {
            (EntryKind::Folder { .. }, Some(name)) => folders.push(name.to_owned()),
            // Class names are stored in model files, as UTF-8.
            (EntryKind::Folder { .. }, None) => {
                return Err(
                    Error::because(path.display(), "expected a class name in UTF-8").with_kind(ErrorKind::InvalidData)
                );
            }
            (EntryKind::Photo, _) => {
                loose.push(SkippedFile { path, reason: "lies outside the class folders".to_owned() })
            }
            (EntryKind::UnsupportedPhoto, _) => loose.push(unsupported(path)),
            (EntryKind::Other | EntryKind::HiddenFile | EntryKind::SystemFolder, _) => {}
        }
    }
    if let Some((one, other)) = twins(folders.iter().map(String::as_str)) {
        let received = format_args!("`{one}` twice, as \"{}\" and as \"{}\"", escaped(one), escaped(other));
        return Err(Error::new(dir.display(), "class folders with names that differ", received)
            .with_kind(ErrorKind::InvalidData)
            .hint("the names differ only in Unicode normalization; move the photos of one folder into the other, and remove it"));
    }
    if !folders.is_empty() {
        return Ok((folders, Unused { skipped: loose, left_out }));
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

/// The error for a folder `dir` that can't be listed.
fn no_folder(dir: &Path, error: io::Error, hint: &str) -> Error {
    match error.kind() {
        io::ErrorKind::NotADirectory => Error::new(dir.display(), "a folder", "a file").caused_by(error).hint(hint),
        io::ErrorKind::NotFound => {
            Error::because(dir.display(), "no such folder").with_kind(ErrorKind::NotFound).caused_by(error).hint(hint)
        }
        _ => PhotoError::from(error).at(dir.display()),
    }
}

/// The photo files of `classes` below `dir`, each with the index of its class. Only classes in `folders` have a subfolder, whose name
/// may have another Unicode normalization.
fn photos_of(
    dir: &Path,
    classes: &[String],
    folders: &[String],
    unused: &mut Unused,
) -> Result<Vec<(PathBuf, Vec<usize>)>> {
    let mut found = Vec::new();
    let mut of_class: Vec<(usize, &String)> =
        folders.iter().zip(positions(classes, folders)).filter_map(|(folder, class)| Some((class?, folder))).collect();
    of_class.sort_by_key(|(class, _)| *class);
    of_class.dedup_by_key(|(class, _)| *class);
    for (class, folder) in of_class {
        let path = dir.join(folder);
        let photos = photos_below(&path, unused);
        let photos = photos.map_err(|error| PhotoError::from(error).at(path.display()))?;
        found.extend(photos.into_iter().map(|path| (path, vec![class])));
    }
    Ok(found)
}

/// The classes that have a photo.
fn labels_of(photos: &[Photo]) -> HashSet<usize> {
    photos.iter().flat_map(|photo| &photo.labels).copied().collect()
}

/// The error for a `folder` without readable photos. It quotes the first of the `skipped` files below `folder`.
fn no_photos(folder: &Path, skipped: &[SkippedFile]) -> Error {
    let bad: Vec<&SkippedFile> = skipped.iter().filter(|skipped| skipped.path.starts_with(folder)).collect();
    let received = match bad.first() {
        None => "none".to_owned(),
        Some(first) => format!("{} that can't be used, such as {}: {}", bad.len(), first.path.display(), first.reason),
    };
    Error::new(folder.display(), "at least one readable photo", received)
        .with_kind(ErrorKind::InvalidData)
        .hint("put photos there, as JPEG, PNG, GIF, BMP, TIFF or WebP files; or remove the folder")
}

/// The error for a label file without readable photos, or without those of a class.
fn no_photos_in_rows(labels: &Path, of_class: &str, skipped: &[SkippedFile]) -> Error {
    let received = match skipped {
        [] => "none".to_owned(),
        [first, ..] => {
            let (skipped, path) = (skipped.len(), first.path.display());
            format!("none; of all photos, {skipped} can't be used, such as {path}: {}", first.reason)
        }
    };
    Error::new(labels.display(), format_args!("at least one readable photo{of_class}"), received)
        .with_kind(ErrorKind::InvalidData)
        .hint("add rows with other photos, or remove those of this class")
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
        let PhotoFolder { classes, photos, skipped, left_out, label_file } = scan(&dir).unwrap();
        assert_eq!(left_out.to_string(), "1 hidden or system folder (.git)");
        assert_eq!(classes, ["Cat", "dog"]);
        assert_eq!(names(&dir, photos.iter().map(|photo| &photo.path)), ["Cat/2.jpg", "dog/1.jpg", "dog/pups/3.png"]);
        assert_eq!(photos.iter().filter_map(Photo::class).collect::<Vec<_>>(), [0, 1, 1]);
        assert_eq!(label_file, None);
        assert_eq!((photos[0].digest == photos[1].digest, photos[1].digest == photos[2].digest), (true, false));
        assert_eq!(skipped, []);
    }

    #[test]
    fn bad_photos_are_skipped_with_a_reason_and_left_alone() {
        let bad: [(&str, &[u8], &str); 5] = [
            ("b/cut.jpg", &PHOTO[..PHOTO.len() / 2], "damaged"),
            ("b/empty.png", b"", "empty file"),
            ("b/huge.png", include_bytes!("../testdata/bomb.png"), "60000 x 60000"),
            ("b/note.jpg", b"just a note", "JPEG, PNG, GIF, BMP, TIFF or WebP"),
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
    fn a_path_that_is_no_folder_of_classes_is_an_error_that_says_so() {
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
        PhotoFolder::scan(folder.path(), &mut |_, _| panic!("no photo may be read before the check")).unwrap_err();
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
        assert_eq!(scanned.photos.iter().filter_map(Photo::class).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn class_folders_that_look_the_same_are_refused() {
        let dir = folder(&[("caf\u{e9}/1.jpg", PHOTO), ("cafe\u{301}/2.jpg", PHOTO), ("tea/3.jpg", PHOTO)]);
        let error = scan(&dir).unwrap_err().to_string();
        let expected =
            "names that differ, received `cafe\u{301}` twice, as \"cafe\\u{301}\" and as \"caf\\u{e9}\"\nhint: ";
        assert!(error.contains(expected), "{error}");
        assert!(scan_as(&dir, &["caf\u{e9}", "tea"]).is_err());
    }

    #[test]
    fn class_folders_are_matched_in_any_normalization() {
        let dir = folder(&[("cafe\u{301}/1.jpg", PHOTO), ("tea/2.jpg", PHOTO)]);
        let scanned = scan_as(&dir, &["tea", "caf\u{e9}"]).unwrap();
        assert_eq!(scanned.classes, ["tea", "caf\u{e9}"]);
        assert_eq!(names(&dir, scanned.photos.iter().map(|photo| &photo.path)), ["tea/2.jpg", "cafe\u{301}/1.jpg"]);
        // The names of a new model's classes are those of the folders.
        assert_eq!(scan(&dir).unwrap().classes, ["cafe\u{301}", "tea"]);
    }

    #[test]
    fn a_folder_that_is_none_of_the_given_classes_is_an_error() {
        let dir = folder(&[("cat/1.jpg", PHOTO), ("cow/2.jpg", PHOTO)]);
        let error = scan_as(&dir, &["cat", "dog"]).unwrap_err().to_string();
        assert!(error.contains("one of the classes cat, dog, received `cow`"), "{error}");
        let error = scan_as(&folder(&[("cat/note.txt", b"")]), &["cat", "dog"]).unwrap_err().to_string();
        assert!(error.contains("at least one readable photo, received none"), "{error}");
    }

    /// Scans `dir` with these rows as label file.
    fn scan_labels(dir: &TempDir, rows: &str) -> Result<PhotoFolder> {
        fs::write(dir.path().join("labels.csv"), rows).unwrap();
        PhotoFolder::scan_labels(dir.path(), &dir.path().join("labels.csv"), None, &|_| false, &mut |_, _| {})
    }

    #[test]
    fn a_label_file_that_names_the_folders_gives_the_photos_of_class_folders() {
        let dir =
            folder(&[("dog/b/1.jpg", PHOTO), ("dog/2.jpg", OTHER_PHOTO), ("cat/3.jpg", PHOTO), ("cat/4.jpg", b"note")]);
        let folders = scan(&dir).unwrap();
        let labels = scan_labels(&dir, "dog/b/1.jpg,dog\ncat/4.jpg,cat\ndog/2.jpg,dog\ncat/3.jpg,cat\n").unwrap();
        assert_eq!(
            (&labels.classes, &labels.photos, &labels.skipped),
            (&folders.classes, &folders.photos, &folders.skipped)
        );
        assert!(!labels.is_multi_label() && !folders.is_multi_label());
    }

    #[test]
    fn a_label_file_with_unreadable_photos_only_is_named() {
        let dir = folder(&[("1.jpg", PHOTO), ("2.jpg", b"note")]);
        let error = scan_labels(&dir, "1.jpg,cat\n2.jpg,dog\n").unwrap_err().to_string();
        assert!(
            error.contains("labels.csv: expected at least one readable photo of the class `dog`, received none"),
            "{error}"
        );
        assert!(error.contains("2.jpg: expected a JPEG"), "{error}");
        let missing =
            PhotoFolder::scan_labels(Path::new("no/such"), Path::new("no.csv"), None, &|_| false, &mut |_, _| {});
        assert!(missing.unwrap_err().to_string().contains("no/such: no such folder"));
    }

    #[test]
    fn several_labels_stay_possible_without_the_photos_that_have_them() {
        let dir = folder(&[("1.jpg", PHOTO), ("2.jpg", OTHER_PHOTO), ("3.jpg", b"note")]);
        let labels = scan_labels(&dir, "1.jpg,cat\n2.jpg,dog\n3.jpg,dog\n3.jpg,cat\n").unwrap();
        assert!(labels.is_multi_label() && labels.photos.iter().all(|photo| photo.class().is_some()));
    }
}
