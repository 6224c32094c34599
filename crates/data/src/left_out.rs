//! [`LeftOut`]: the files and folders that a scan passed over because they aren't photos, counted.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::Path;

/// The most different extensions that are counted, so that a folder of any names takes little memory.
const MAX_EXTENSIONS: usize = 100;

/// The longest extension, in bytes. What follows the last dot of a sentence isn't one.
const MAX_EXTENSION: usize = 10;

/// The most extensions in the text; the files of the others are added up.
const SHOWN: usize = 8;

/// Files and folders that a scan passed over because they aren't photos, counted.
///
/// Images in formats that aren't read are not among them: [`SkippedFile`](crate::SkippedFile)s name each of these.
///
/// ```
/// use engraft_data::PhotoListing;
/// let folder = tempfile::tempdir()?;
/// for file in ["1.jpg", "notes.txt", "more.TXT", "film.mp4", "README", ".DS_Store", "@eaDir/1.jpg"] {
///     let path = folder.path().join(file);
///     std::fs::create_dir_all(path.parent().expect("a folder"))?;
///     std::fs::write(path, "")?;
/// }
/// let left_out = PhotoListing::of(folder.path(), true)?.left_out;
/// assert_eq!(left_out.to_string(), "2 .txt, 1 .mp4, 1 other file, 1 hidden file, 1 hidden or system folder (@eaDir)");
/// assert_eq!((left_out.extensions["txt"], left_out.others, left_out.hidden), (2, 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The number of files by extension, in lower case and without the dot. At most 100 extensions are counted separately.
    pub extensions: BTreeMap<String, usize>,
    /// The number of files without an extension, or with one that isn't counted by itself.
    pub others: usize,
    /// The number of hidden files (`.name`) and of files of an operating system, such as `Thumbs.db`.
    pub hidden: usize,
    /// The number of folders that were not looked into; see [`is_system_folder`](crate::is_system_folder).
    pub folders: usize,
    /// The name of one of these folders.
    pub folder: Option<String>,
}

impl LeftOut {
    /// Whether every file was a photo.
    ///
    /// ```
    /// assert!(engraft_data::LeftOut::default().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what another scan passed over.
    ///
    /// ```
    /// use engraft_data::LeftOut;
    /// let mut left_out = LeftOut { hidden: 1, ..LeftOut::default() };
    /// left_out.add(LeftOut { hidden: 2, extensions: [("txt".to_owned(), 3)].into(), ..LeftOut::default() });
    /// assert_eq!(left_out.to_string(), "3 .txt, 3 hidden files");
    /// ```
    pub fn add(&mut self, other: Self) {
        other.extensions.into_iter().for_each(|(extension, files)| self.add_extension(extension, files));
        self.others += other.others;
        self.hidden += other.hidden;
        self.folders += other.folders;
        self.folder = self.folder.take().or(other.folder);
    }

    pub(crate) fn add_file(&mut self, path: &Path) {
        match extension(path) {
            Some(extension) => self.add_extension(extension, 1),
            None => self.others += 1,
        }
    }

    /// Takes back a file that [`add_file`](Self::add_file) counted.
    pub(crate) fn remove_file(&mut self, path: &Path) {
        match extension(path).and_then(|extension| self.extensions.get_mut(&extension)) {
            Some(files) => *files = files.saturating_sub(1),
            None => self.others = self.others.saturating_sub(1),
        }
        self.extensions.retain(|_, files| *files > 0);
    }

    pub(crate) fn add_hidden_file(&mut self) {
        self.hidden += 1;
    }

    pub(crate) fn add_folder(&mut self, path: &Path) {
        self.folders += 1;
        self.folder.get_or_insert_with(|| path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }

    fn add_extension(&mut self, extension: String, files: usize) {
        match self.extensions.len() < MAX_EXTENSIONS || self.extensions.contains_key(&extension) {
            true => *self.extensions.entry(extension).or_default() += files,
            false => self.others += files,
        }
    }
}

/// The extension of a file in lower case; `None` if it has none, or none that is one.
fn extension(path: &Path) -> Option<String> {
    let extension = path.extension()?.to_str()?.to_lowercase();
    let is_one = extension.len() <= MAX_EXTENSION && extension.chars().all(char::is_alphanumeric);
    is_one.then_some(extension)
}

/// The counts as a list, the most frequent extension first: `3 .txt, 1 .mp4, 2 hidden files`.
impl Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut extensions: Vec<(&String, &usize)> = self.extensions.iter().collect();
        extensions.sort_by_key(|&(extension, files)| (std::cmp::Reverse(*files), extension));
        let (shown, rest) = extensions.split_at(extensions.len().min(SHOWN));
        let others = self.others + rest.iter().map(|(_, files)| **files).sum::<usize>();
        let part = |count: usize, what: &str| {
            let plural = if count == 1 { "" } else { "s" };
            (count > 0).then(|| format!("{count} {what}{plural}"))
        };
        let folder = |text: String| match (&self.folder, self.folders) {
            (Some(name), 1) => format!("{text} ({})", name.escape_debug()),
            (Some(name), _) => format!("{text} (such as {})", name.escape_debug()),
            (None, _) => text,
        };
        let mut parts: Vec<String> = shown.iter().map(|(extension, files)| format!("{files} .{extension}")).collect();
        parts.extend(part(others, "other file"));
        parts.extend(part(self.hidden, "hidden file"));
        parts.extend(part(self.folders, "hidden or system folder").map(folder));
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_extensions_come_first_and_rare_ones_are_added_up() {
        let mut left_out = LeftOut::default();
        let names =
            (0..12).map(|number| format!("{number}.x{number}")).chain((0..3).map(|number| format!("{number}.PDF")));
        names.for_each(|name| left_out.add_file(Path::new(&name)));
        assert_eq!(left_out.to_string(), "3 .pdf, 1 .x0, 1 .x1, 1 .x10, 1 .x11, 1 .x2, 1 .x3, 1 .x4, 5 other files");
        assert!(!left_out.is_empty());
    }

    #[test]
    fn any_number_of_extensions_takes_little_memory() {
        let mut left_out = LeftOut::default();
        (0..10_000).for_each(|number| left_out.add_file(Path::new(&format!("a.{number}"))));
        left_out.add_file(Path::new("Dear friend. How are you"));
        left_out.add_file(Path::new("a.b\u{1b}[2J"));
        assert_eq!((left_out.extensions.len(), left_out.others), (MAX_EXTENSIONS, 9_902));
    }

    #[test]
    fn a_file_can_be_taken_back() {
        let mut left_out = LeftOut::default();
        ["labels.CSV", "README"].iter().for_each(|name| left_out.add_file(Path::new(name)));
        left_out.remove_file(Path::new("labels.csv"));
        assert_eq!(left_out.to_string(), "1 other file");
        left_out.remove_file(Path::new("README"));
        assert!(left_out.is_empty());
    }

    #[test]
    fn a_folder_with_a_hostile_name_is_escaped() {
        let mut left_out = LeftOut::default();
        ["a/.\u{1b}[2J", "a/#recycle"].iter().for_each(|path| left_out.add_folder(Path::new(path)));
        assert_eq!(left_out.to_string(), "2 hidden or system folders (such as .\\u{1b}[2J)");
    }
}
