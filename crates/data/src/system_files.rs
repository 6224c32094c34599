//! Files and folders of operating systems, network storage and photo programs, by name: never photos, never classes.

use std::ffi::OsStr;

/// Folders of thumbnails, deleted files and metadata, compared without regard to case.
///
/// Only names that nobody gives to a class stand here. `thumbs` and `originals`, say, may be classes.
const FOLDERS: [&str; 19] = [
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "@__thumb",
    "@eadir",
    "@recently-snapshot",
    "@recycle",
    "@sharebin",
    "@tmp",
    "@transcode",
    "__macosx",
    "__pycache__",
    "found.000",
    "lost+found",
    "network trash folder",
    "system volume information",
    "temporary items",
    "thevolumesettingsfolder",
    "~snapshot",
];

/// How the names of Lightroom's folders of previews end.
const PREVIEWS: &str = ".lrdata";

/// Files with thumbnails and settings, compared without regard to case. `icon\r` is the icon of a folder in macOS.
const FILES: [&str; 7] =
    ["desktop.ini", "ehthumbs.db", "ehthumbs_vista.db", "icon\r", "picasa.ini", "thumbs.db", "zbthumbnail.info"];

/// Whether a folder of this name holds thumbnails, deleted files or metadata, such as `@eaDir` of Synology; or is hidden (`.name`).
///
/// Scans don't look into such folders: the thumbnails in them would be photos of the class, or a class of their own.
///
/// ```
/// use engraft_data::is_system_folder;
/// assert!(["@eaDir", ".@__thumb", "$RECYCLE.BIN", "__MACOSX", "Trip Previews.lrdata"].iter().all(is_system_folder));
/// assert!(!["thumbs", "Originals", "recycle", "@home"].iter().any(is_system_folder));
/// ```
pub fn is_system_folder(name: impl AsRef<OsStr>) -> bool {
    let name = name.as_ref();
    let lower = name.to_string_lossy().to_lowercase();
    is_hidden(name) || FOLDERS.contains(&lower.as_str()) || lower.ends_with(PREVIEWS)
}

/// Whether a file of this name is hidden, as macOS' `._photo.jpg`, or of an operating system or a photo program.
pub(crate) fn is_system_file(name: &OsStr) -> bool {
    is_hidden(name) || FILES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_systems_are_known_in_any_case() {
        for name in [".DS_Store", "Thumbs.db", "THUMBS.DB", "desktop.ini", "._photo.jpg", "Icon\r"] {
            assert!(is_system_file(OsStr::new(name)), "{name}");
        }
        for name in ["photo.jpg", "thumbs.jpg", "icon", "notes.ini"] {
            assert!(!is_system_file(OsStr::new(name)), "{name}");
        }
    }
}
