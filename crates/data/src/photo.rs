//! [`Photo`]: a photo file that a scan found readable; [`SkippedFile`]: a file that it left out.

use std::path::PathBuf;

/// A readable photo file with its class.
///
/// ```
/// use engraft_data::Photo;
/// // Equal digests show that the second file is a copy of the first.
/// let photo = |path: &str, digest| Photo { path: path.into(), class: 0, digest };
/// let (photo, copy) = (photo("cat/1.jpg", [7; 32]), photo("cat/copy of 1.jpg", [7; 32]));
/// assert!(photo.path != copy.path && photo.digest == copy.digest);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Photo {
    /// The file.
    pub path: PathBuf,
    /// Index of its class in [`PhotoFolder::classes`](crate::PhotoFolder::classes).
    pub class: usize,
    /// SHA-256 of the file's content. Files with equal digests are copies of one photo.
    pub digest: [u8; 32],
}

/// A file that a scan left out, with the reason.
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
pub struct SkippedFile {
    /// The file.
    pub path: PathBuf,
    /// Why it was left out.
    pub reason: String,
}
