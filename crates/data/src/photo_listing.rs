//! [`PhotoListing`]: the photo files of a folder, without classes.

use std::path::{Path, PathBuf};

use crate::file::unreadable;
use crate::file_listing::{EntryKind, Unused, entries, photos_below};
use crate::left_out::LeftOut;
use crate::photo::SkippedFile;
use crate::photo_extension;
use crate::{Error, Result};

/// The photo files of a folder, in the order of their names, and what was left out.
///
/// ```
/// use engraft_data::PhotoListing;
/// let folder = tempfile::tempdir()?;
/// for file in ["b.jpg", "a.png", "scan.heic", "notes.txt", "2024/c.jpg"] {
///     let path = folder.path().join(file);
///     std::fs::create_dir_all(path.parent().expect("a folder"))?;
///     std::fs::write(path, "")?;
/// }
/// let listing = PhotoListing::of(folder.path(), false)?;
/// assert_eq!(listing.photos, ["a.png", "b.jpg"].map(|name| folder.path().join(name)));
/// assert_eq!((listing.skipped.len(), listing.folders), (1, 1));
/// assert_eq!(listing.left_out.to_string(), "1 .txt");
/// assert_eq!(PhotoListing::of(folder.path(), true)?.photos.len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PhotoListing {
    /// The photo files. Their contents aren't read.
    pub photos: Vec<PathBuf>,
    /// Images of formats that aren't read, and folders that can't be opened, with the reasons.
    pub skipped: Vec<SkippedFile>,
    /// Files that aren't images, and hidden and system folders.
    pub left_out: LeftOut,
    /// The number of subfolders that weren't looked into.
    pub folders: usize,
}

impl PhotoListing {
    /// Lists the photos in `folder`, and if `recursive` those in its subfolders, too.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn of(folder: &Path, recursive: bool) -> Result<Self> {
        let failed = |error| Error::because(folder.display(), unreadable(&error)).caused_by(error);
        if recursive {
            let mut unused = Unused::default();
            let photos = photos_below(folder, &mut unused).map_err(failed)?;
            let Unused { skipped, left_out } = unused;
            return Ok(Self { photos, skipped, left_out, folders: 0 });
        }
        let mut listing = Self::default();
        for (path, kind) in entries(folder, &mut listing.left_out).map_err(failed)? {
            match kind {
                EntryKind::Photo => listing.photos.push(path),
                EntryKind::Folder { .. } => listing.folders += 1,
                EntryKind::UnsupportedPhoto => listing.skipped.push(unsupported(path)),
                EntryKind::Other | EntryKind::HiddenFile | EntryKind::SystemFolder => {}
            }
        }
        Ok(listing)
    }
}

/// An image of a format that isn't read, with what to do.
pub(crate) fn unsupported(path: PathBuf) -> SkippedFile {
    let reason = photo_extension::unsupported(&path).unwrap_or_default();
    SkippedFile { path, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_none_is_an_error() {
        let error = PhotoListing::of(Path::new("no such folder"), false).unwrap_err().to_string();
        assert!(error.contains("no such folder"), "{error}");
    }
}
