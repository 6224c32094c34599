//! [`PhotoPaths`]: finds the files that the paths of a label file name.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::unicode::normalized;

/// Finds files by the paths of a label file. A file below the folder gets the path that a scan of the folder gives it.
pub(super) struct PhotoPaths<'a> {
    /// The folder that relative paths start from.
    dir: &'a Path,
    canonical_dir: Option<PathBuf>,
    /// By folder, the names in it outside ASCII, by their normalized form.
    listings: RefCell<HashMap<PathBuf, HashMap<String, OsString>>>,
}

impl<'a> PhotoPaths<'a> {
    pub(super) fn new(dir: &'a Path) -> Self {
        Self { dir, canonical_dir: dir.canonicalize().ok(), listings: RefCell::default() }
    }

    /// The file that `text` names: as it is, else without spaces around it, else with `\` as separator; else with names on the way
    /// to it in another Unicode normalization.
    pub(super) fn find(&self, text: &str) -> Option<PathBuf> {
        let trimmed = text.trim();
        let candidates = [text.to_owned(), trimmed.to_owned(), trimmed.replace('\\', "/")].map(PathBuf::from);
        let exact = candidates.iter().find(|path| self.dir.join(path).is_file()).cloned();
        let path = exact.or_else(|| candidates.iter().find_map(|path| self.in_another_form(path)))?;
        let is_plain = path.components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
        let below = |path: &Path| {
            self.dir.join(path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>())
        };
        if is_plain {
            return Some(below(&path));
        }
        let canonical = self.dir.join(path).canonicalize().ok()?;
        let inside = self.canonical_dir.as_ref().and_then(|dir| canonical.strip_prefix(dir).ok()).map(below);
        Some(inside.unwrap_or(canonical))
    }

    /// `path` with the names as they are on the disk, if these differ only in Unicode normalization.
    fn in_another_form(&self, path: &Path) -> Option<PathBuf> {
        if path.to_str().is_none_or(str::is_ascii) {
            return None;
        }
        let mut found = PathBuf::new();
        for component in path.components() {
            let exact = found.join(component);
            found = match component.as_os_str().to_str() {
                Some(name) if !name.is_ascii() && !self.dir.join(&exact).exists() => {
                    let name = self.listed(&self.dir.join(&found), name)?;
                    found.join(name)
                }
                _ => exact,
            };
        }
        self.dir.join(&found).is_file().then_some(found)
    }

    /// The name in `folder` that has the same normalized form.
    fn listed(&self, folder: &Path, name: &str) -> Option<OsString> {
        let mut listings = self.listings.borrow_mut();
        let names = listings.entry(folder.to_owned()).or_insert_with(|| {
            let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
            let by_form = |name: OsString| {
                let form = name.to_str().filter(|name| !name.is_ascii()).map(|name| normalized(name).into_owned());
                form.map(|form| (form, name))
            };
            names.filter_map(by_form).collect()
        });
        names.get(&*normalized(name)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_has_one_path_however_it_is_written() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("photos");
        fs::create_dir_all(dir.join("cat")).unwrap();
        fs::write(dir.join("cat/1.jpg"), "").unwrap();
        fs::write(place.path().join("outside.jpg"), "").unwrap();
        let paths = PhotoPaths::new(&dir);
        let absolute = dir.join("cat/1.jpg").to_str().unwrap().to_owned();
        for text in ["cat/1.jpg", "./cat/./1.jpg", " cat//1.jpg ", r"cat\1.jpg", "../photos/cat/1.jpg", &absolute] {
            assert_eq!(paths.find(text), Some(dir.join("cat/1.jpg")), "{text}");
        }
        let outside = place.path().canonicalize().unwrap().join("outside.jpg");
        assert_eq!(paths.find("../outside.jpg"), Some(outside));
        assert_eq!(["", "cat", "cat/2.jpg", "/"].map(|text| paths.find(text)), [const { None }; 4]);
    }

    #[test]
    fn names_are_found_in_any_normalization() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path();
        // The folder in one form, the file in both forms mixed.
        let file = dir.join("caf\u{e9}/a\u{30a}n\u{e9}.jpg");
        fs::create_dir(dir.join("caf\u{e9}")).unwrap();
        fs::write(&file, "").unwrap();
        let paths = PhotoPaths::new(dir);
        for text in
            ["caf\u{e9}/\u{e5}n\u{e9}.jpg", " cafe\u{301}\\a\u{30a}ne\u{301}.jpg", "./cafe\u{301}/\u{e5}ne\u{301}.jpg"]
        {
            assert_eq!(paths.find(text), Some(file.clone()), "{text}");
        }
        assert_eq!(paths.find("caf\u{e9}/\u{e5}ne.jpg"), None);
        // A file of the same form is found first.
        let exact = dir.join("cafe\u{301}/\u{e5}n\u{e9}.jpg");
        fs::create_dir(dir.join("cafe\u{301}")).unwrap();
        fs::write(&exact, "").unwrap();
        assert_eq!(paths.find("cafe\u{301}/\u{e5}n\u{e9}.jpg"), Some(exact));
    }

    #[cfg(unix)]
    #[test]
    fn a_backslash_may_belong_to_a_name() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join(r"a\1.jpg"), "").unwrap();
        assert_eq!(PhotoPaths::new(place.path()).find(r"a\1.jpg"), Some(place.path().join(r"a\1.jpg")));
    }
}
