//! [`LabelFile`]: a CSV file with the labels of photos, and its reader.

mod label_rows;
mod photo_paths;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use engraft_nn::Result;

use self::label_rows::{LabelRows, LabelledPhoto};
use crate::file_listing::{Unused, photos_below, sort_key};
use crate::left_out::LeftOut;
use crate::unicode::normalized;

/// The CSV file (RFC 4180, UTF-8) that the labels of a [`PhotoFolder`](crate::PhotoFolder) come from.
///
/// Each row has two columns: the path of a photo and a label. Paths are relative to the folder of photos, or absolute; `\` is
/// accepted as separator as well, as Windows writes it. A photo has several labels if it has several rows; the order of rows
/// and equal rows make no difference. An empty label stands for a photo without any. It is accepted only where another photo has
/// several labels, or where the classes are those of a model. Spaces around a label don't count.
///
/// The first row is a header if it names its columns, such as `path,label`, and no photo. Photos without a row are left out.
///
/// ```
/// # // A BMP image of one red pixel.
/// # let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
/// # bmp.extend([0; 24]);
/// # bmp.extend([0, 0, 255, 0]);
/// # let photos = tempfile::tempdir()?;
/// # let dir = photos.path();
/// # for name in ["1.bmp", "2.bmp", "3.bmp"] {
/// #     std::fs::write(dir.join(name), &bmp)?;
/// # }
/// use engraft_data::{LabelFile, PhotoFolder};
/// let labels = dir.join("labels.csv");
/// std::fs::write(&labels, "1.bmp,dog\n3.bmp,cat\n")?;
/// let folder = PhotoFolder::scan_labels(dir, &labels, None, &|_digest| false, &mut |_done, _total| {})?;
/// assert_eq!(folder.label_file, Some(LabelFile { path: labels, is_multi_label: false, unlabelled: 1 }));
/// assert!(folder.photos[0].path.ends_with("3.bmp"), "cats come first");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFile {
    /// The file.
    pub path: PathBuf,
    /// Whether a photo has several labels or none.
    pub is_multi_label: bool,
    /// The number of photos below the folder that have no row. They are left out.
    pub unlabelled: usize,
}

/// The content of a label file.
#[derive(Debug)]
pub(crate) struct LabelledPhotos {
    pub(crate) file: LabelFile,
    pub(crate) classes: Vec<String>,
    /// Files below the folder that aren't images, without the label file itself.
    pub(crate) left_out: LeftOut,
    /// Each photo with the indices of its labels, ascending. Sorted by labels, then in the order of Keras.
    pub(crate) photos: Vec<(PathBuf, Vec<usize>)>,
}

/// Reads the labels of photos below `dir` from the CSV file `path`; see [`PhotoFolder::scan_labels`](crate::PhotoFolder::scan_labels).
pub(crate) fn read_labels(dir: &Path, path: &Path, classes: Option<&[String]>) -> Result<LabelledPhotos> {
    let rows = LabelRows::read(dir, path)?;
    let classes = match classes {
        Some(known) => {
            rows.check_known(known)?;
            known.to_vec()
        }
        None => {
            rows.check_own_classes()?;
            rows.labels.keys().cloned().collect()
        }
    };
    let of_name: HashMap<&str, usize> = classes.iter().enumerate().map(|(at, class)| (class.as_str(), at)).collect();
    // Where a model's class has another Unicode normalization than the label.
    let of_form: HashMap<_, usize> = classes.iter().enumerate().map(|(at, class)| (normalized(class), at)).collect();
    let position = |name: &str| of_name.get(name).copied().unwrap_or_else(|| of_form[&normalized(name)]);
    // By the number that a label got when its first row was read.
    let mut index_of = vec![0; rows.labels.len()];
    rows.labels.iter().for_each(|(name, label)| index_of[label.number as usize] = position(name));
    let resolved = |(path, photo): (PathBuf, LabelledPhoto)| {
        let mut labels: Vec<usize> = photo.labels.iter().map(|&label| index_of[label as usize]).collect();
        labels.sort_unstable();
        // Two labels that differ only in Unicode normalization are one class of a model.
        labels.dedup();
        (path, labels)
    };
    let mut photos: Vec<(PathBuf, Vec<usize>)> = rows.photos.into_iter().map(resolved).collect();
    photos.sort_by(|(a, of_a), (b, of_b)| (of_a, sort_key(a)).cmp(&(of_b, sort_key(b))));
    let is_multi_label = photos.iter().any(|(_, labels)| labels.len() != 1);
    let (unlabelled, left_out) = without_row(dir, path, &photos);
    let file = LabelFile { path: path.to_owned(), is_multi_label, unlabelled };
    Ok(LabelledPhotos { file, classes, left_out, photos })
}

/// The number of photos below `dir` that aren't among `photos`, and the files that aren't images except for the label file.
fn without_row(dir: &Path, label_file: &Path, photos: &[(PathBuf, Vec<usize>)]) -> (usize, LeftOut) {
    let labelled: HashSet<&Path> = photos.iter().map(|(path, _)| path.as_path()).collect();
    // What a scan of class folders would report, such as links, has no row and is left out like the other photos. A folder that
    // can't be read has no photos to count.
    let mut unused = Unused::default();
    let found = photos_below(dir, &mut unused).unwrap_or_default();
    let mut left_out = unused.left_out;
    let is_below =
        dir.canonicalize().is_ok_and(|dir| label_file.canonicalize().is_ok_and(|file| file.starts_with(dir)));
    if is_below {
        left_out.remove_file(label_file);
    }
    (found.iter().filter(|path| !labelled.contains(path.as_path())).count(), left_out)
}

#[cfg(test)]
mod tests {
    use super::label_rows::MAX_LABELS;
    use super::*;
    use crate::csv::MAX_ROW;
    use engraft_nn::ErrorKind;
    use std::fs;
    use tempfile::TempDir;

    /// A folder with the photos 1.jpg to 4.jpg, sub/5.jpg and `a, b.jpg`, and the file `labels.csv`. No reader opens the photos.
    fn place(labels: impl AsRef<[u8]>) -> TempDir {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("photos/sub")).unwrap();
        for name in ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "sub/5.jpg", "a, b.jpg"] {
            fs::write(place.path().join("photos").join(name), "").unwrap();
        }
        fs::write(place.path().join("labels.csv"), labels).unwrap();
        place
    }

    fn read(place: &TempDir, classes: Option<&[&str]>) -> Result<LabelledPhotos> {
        let classes: Option<Vec<String>> = classes.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        read_labels(&place.path().join("photos"), &place.path().join("labels.csv"), classes.as_deref())
    }

    /// The name of a photo and its labels.
    type Named = (String, Vec<usize>);

    /// The classes, the photos, whether these may have several labels, and the number of photos without a row.
    fn found(labels: impl AsRef<[u8]>) -> (Vec<String>, Vec<Named>, bool, usize) {
        let place = place(labels);
        let LabelledPhotos { file, classes, photos, .. } = read(&place, None).unwrap();
        let name = |path: PathBuf| path.strip_prefix(place.path().join("photos")).unwrap().to_str().unwrap().to_owned();
        let photos = photos.into_iter().map(|(path, labels)| (name(path), labels)).collect();
        (classes, photos, file.is_multi_label, file.unlabelled)
    }

    fn error(labels: impl AsRef<[u8]>) -> String {
        read(&place(labels), None).unwrap_err().to_string()
    }

    #[track_caller]
    fn assert_contains(message: &str, expected: &[&str]) {
        expected.iter().for_each(|expected| assert!(message.contains(expected), "expected {expected:?} in {message}"));
    }

    #[test]
    fn one_label_a_photo_is_a_class() {
        let (classes, photos, is_multi_label, unlabelled) =
            found("\u{feff}Filename,Class\r\n./sub/5.jpg,dog\r\n2.jpg, cat \r\n\r\n 1.jpg ,\"dog\"\r\n2.jpg,cat\r\n");
        assert_eq!(classes, ["cat", "dog"]);
        assert_eq!(photos, [("2.jpg".into(), vec![0]), ("1.jpg".into(), vec![1]), ("sub/5.jpg".into(), vec![1])]);
        assert_eq!((is_multi_label, unlabelled), (false, 3));
    }

    #[test]
    fn several_rows_are_several_labels_and_an_empty_label_is_none() {
        let (classes, photos, is_multi_label, unlabelled) =
            found("1.jpg,red\n2.jpg,car\n3.jpg,\n1.jpg,car\n1.jpg,red\n\"a, b.jpg\",\"a, \"\"b\"\"\"\n");
        assert_eq!(classes, ["a, \"b\"", "car", "red"]);
        let expected: [(&str, &[usize]); 4] = [("3.jpg", &[]), ("a, b.jpg", &[0]), ("2.jpg", &[1]), ("1.jpg", &[1, 2])];
        assert_eq!(photos, expected.map(|(name, labels)| (name.to_owned(), labels.to_vec())));
        assert_eq!((is_multi_label, unlabelled), (true, 2));
    }

    #[test]
    fn a_header_is_a_first_row_without_a_photo() {
        assert_eq!(found("1.jpg,a\n2.jpg,b").1.len(), 2);
        let place = place("image,label\n1.jpg,a\n");
        fs::write(place.path().join("photos/image"), "").unwrap();
        assert_eq!(read(&place, None).unwrap().photos.len(), 2, "`image` is a photo here");
        assert_contains(&error("1.jpg,a\npath,label\n"), &["labels.csv:2: ", "received `path`"]);
    }

    #[test]
    fn missing_photos_are_counted_and_the_first_is_named() {
        let message = error("path,label\n1.jpg,a\nno.jpg,a\n2.jpg,b\nnone.jpg,b\nsub,b\n");
        assert_contains(
            &message,
            &[
                "labels.csv:3: expected the path of a photo in the first column, received `no.jpg`",
                "as in 2 other rows",
            ],
        );
        assert_contains(&message, &["hint: paths are absolute or start from ", "photos; correct them"]);
    }

    #[test]
    fn rows_that_make_no_sense_are_named_by_line() {
        assert_contains(&error("1.jpg,a\n2.jpg;b\n"), &["labels.csv:2: ", "received 1", "by a comma"]);
        assert_contains(&error("1.jpg,a\n2.jpg\n"), &["labels.csv:2: ", "two columns", "write a comma and a label"]);
        assert_contains(&error("1.jpg,a\n2.jpg,b,c\n"), &["labels.csv:2: ", "received 3", "a row for each label"]);
        assert_contains(
            &error("1.jpg,a\n2.jpg,b\n3.jpg, \n"),
            &["labels.csv:3: expected a label, received none", "`other`"],
        );
        assert_contains(
            &error("1.jpg,a\n1.jpg,b\n1.jpg,\n"),
            &["labels.csv:3: ", "another row gives this photo a label"],
        );
        assert_contains(&error("1.jpg,a\n2.jpg,\"b\n3.jpg,c\n"), &["labels.csv:2: ", "double quote missing"]);
        assert_contains(&error(format!("1.jpg,{}", "a".repeat(1001))), &["labels.csv:1: ", "at most 1000 bytes"]);
        assert_contains(&error([b"1.jpg,a\n2.jpg,".as_slice(), b"\xE9"].concat()), &["labels.csv:2: ", "UTF-8"]);
        let long = format!("1.jpg,a\n\"{}", "x,y\n".repeat(MAX_ROW));
        assert_contains(&error(long), &["labels.csv:2: expected a row of less than 65536 bytes"]);
        assert_contains(&error("1.jpg,a\n2.jpg,a\n"), &["two or more different labels, received one, `a`"]);
        assert_contains(&error("path,label\n"), &["rows of a path and a label", "received none"]);
        // As many labels as are possible, one of them twice, and one more.
        let labels = (0..MAX_LABELS).chain([7, MAX_LABELS]);
        let many: String = labels.map(|label| format!("1.jpg,{label}\n")).collect();
        assert_contains(&error(many), &["labels.csv:65538: expected at most 65536 different labels"]);
    }

    #[test]
    fn classes_of_a_model_keep_their_numbers_and_know_no_others() {
        let rows = place("1.jpg,red\n2.jpg,\n3.jpg,car\n");
        let LabelledPhotos { classes, photos, file, .. } = read(&rows, Some(&["red", "tree", "car"])).unwrap();
        assert_eq!(classes, ["red", "tree", "car"]);
        assert_eq!(photos.iter().map(|(_, labels)| labels.as_slice()).collect::<Vec<_>>(), [&[][..], &[0], &[2]]);
        assert!(file.is_multi_label, "a photo without a label");
        let message = read(&rows, Some(&["red", "tree"])).unwrap_err().to_string();
        assert_contains(&message, &["labels.csv:3: expected one of the classes red, tree, received `car`"]);
    }

    #[test]
    fn names_are_the_same_in_any_unicode_normalization() {
        let rows = place("caf\u{e9}/1.jpg,cafe\u{301}\ncafe\u{301}/1.jpg,caf\u{e9}\n2.jpg,b\n");
        fs::create_dir(rows.path().join("photos/cafe\u{301}")).unwrap();
        fs::write(rows.path().join("photos/cafe\u{301}/1.jpg"), "").unwrap();
        let found = read(&rows, Some(&["caf\u{e9}", "b"])).unwrap();
        assert!(!found.file.is_multi_label, "one class in two forms");
        assert_eq!(
            found.photos,
            [(rows.path().join("photos/cafe\u{301}/1.jpg"), vec![0]), (rows.path().join("photos/2.jpg"), vec![1])]
        );
        assert_contains(
            &error("1.jpg,caf\u{e9}\n2.jpg,b\n3.jpg,cafe\u{301}\n"),
            &[
                "labels.csv:3: expected labels that differ in more than their Unicode normalization",
                "caf\\u{e9}",
                "line 1",
            ],
        );
    }

    #[test]
    fn a_missing_file_is_an_error_that_says_what_it_should_be() {
        let place = place("");
        fs::remove_file(place.path().join("labels.csv")).unwrap();
        let error = read(&place, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_contains(&error.to_string(), &["labels.csv: ", "hint: give a CSV file"]);
        fs::create_dir(place.path().join("labels.csv")).unwrap();
        assert_contains(&read(&place, None).unwrap_err().to_string(), &["labels.csv: ", "hint: give a CSV file"]);
    }
}
