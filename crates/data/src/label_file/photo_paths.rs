//! [`PhotoPaths`]: finds the files that the paths of a label file name.

use std::path::{Component, Path, PathBuf};

/// Finds files by the paths of a label file. A file below the folder gets the path that a scan of the folder gives it.
pub(super) struct PhotoPaths<'a> {
    /// The folder that relative paths start from.
    dir: &'a Path,
    canonical_dir: Option<PathBuf>,
}

impl<'a> PhotoPaths<'a> {
    pub(super) fn new(dir: &'a Path) -> Self {
        Self { dir, canonical_dir: dir.canonicalize().ok() }
    }

    /// The file that `text` names: as it is, else without spaces around it, else with `\` as separator.
    pub(super) fn find(&self, text: &str) -> Option<PathBuf> {
        let trimmed = text.trim();
        let candidates = [text.to_owned(), trimmed.to_owned(), trimmed.replace('\\', "/")];
        let path = candidates.iter().map(Path::new).find(|path| self.dir.join(path).is_file())?;
        let is_plain = path.components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
        let below = |path: &Path| {
            self.dir.join(path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>())
        };
        if is_plain {
            return Some(below(path));
        }
        let canonical = self.dir.join(path).canonicalize().ok()?;
        let inside = self.canonical_dir.as_ref().and_then(|dir| canonical.strip_prefix(dir).ok()).map(below);
        Some(inside.unwrap_or(canonical))
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

    #[cfg(unix)]
    #[test]
    fn a_backslash_may_belong_to_a_name() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join(r"a\1.jpg"), "").unwrap();
        assert_eq!(PhotoPaths::new(place.path()).find(r"a\1.jpg"), Some(place.path().join(r"a\1.jpg")));
    }
}
