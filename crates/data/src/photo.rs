//! [`Photo`]: a photo file that a scan found readable; [`SkippedFile`]: a file that it left out.

use std::path::PathBuf;

use engraft_nn::{Error, ErrorKind};
use sha2::{Digest, Sha256};

use crate::decode::pixels;
use crate::file::{PhotoError, read};
use crate::load::resized;
use crate::{ColorMode, Pixels};

/// A readable photo file with its labels.
///
/// ```
/// use engraft_data::Photo;
/// // Equal digests show that the second file is a copy of the first.
/// let photo = |path: &str, digest| Photo { path: path.into(), labels: vec![0], digest };
/// let (photo, copy) = (photo("cat/1.jpg", [7; 32]), photo("cat/copy of 1.jpg", [7; 32]));
/// assert!(photo.path != copy.path && photo.digest == copy.digest);
/// assert_eq!(photo.class(), Some(0));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Photo {
    /// The file.
    pub path: PathBuf,
    /// Indices of its labels in [`PhotoFolder::classes`](crate::PhotoFolder::classes), ascending.
    ///
    /// A photo in a class folder has one label, its class. With a label file it may have several, or none.
    pub labels: Vec<usize>,
    /// SHA-256 of the file's content. Files with equal digests are copies of one photo.
    pub digest: [u8; 32],
}

impl Photo {
    /// The only label; `None` where the photo has several or none.
    ///
    /// ```
    /// use engraft_data::Photo;
    /// let photo = |labels: &[usize]| Photo { path: "1.jpg".into(), labels: labels.to_vec(), digest: [0; 32] };
    /// assert_eq!([photo(&[2]).class(), photo(&[0, 2]).class(), photo(&[]).class()], [Some(2), None, None]);
    /// ```
    pub fn class(&self) -> Option<usize> {
        match self.labels[..] {
            [class] => Some(class),
            _ => None,
        }
    }

    /// Decodes the file, if it still has the digest of the scan.
    ///
    /// What a program stores under the digest, such as features, is then of these pixels.
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
    /// let photo = &PhotoFolder::scan(dir, &mut |_done, _total| {})?.photos[0];
    /// assert_eq!(photo.decode().map(|pixels| pixels.rgb), Ok(vec![255, 0, 0]));
    ///
    /// bmp.extend([0; 4]);
    /// std::fs::write(&photo.path, &bmp)?;
    /// let error = photo.decode().unwrap_err();
    /// assert_eq!(error.path, photo.path);
    /// assert!(error.reason.contains("changed"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The file can't be read or decoded, with the reason that a scan gives; or it has changed.
    pub fn decode(&self) -> Result<Pixels, SkippedFile> {
        self.decode_with(pixels)
    }

    /// Decodes the file as [`decode`](Self::decode) does, and resizes it to `[height, width, channels]`, keeping its transparency where
    /// `mode` has it; see [`ColorMode::load`].
    ///
    /// # Errors
    /// Those of [`decode`](Self::decode).
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
    /// use engraft_data::{ColorMode, PhotoFolder};
    /// let photo = &PhotoFolder::scan(dir, &mut |_done, _total| {})?.photos[0];
    /// assert_eq!(photo.load(ColorMode::Rgba, [1, 1]), Ok(vec![255.0, 0.0, 0.0, 255.0]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load(&self, mode: ColorMode, image_size: [usize; 2]) -> Result<Vec<f32>, SkippedFile> {
        self.decode_with(|bytes| resized(bytes, mode, image_size))
    }

    /// What `decode` makes of the bytes of the file, if it still has the digest of the scan.
    fn decode_with<T>(&self, decode: impl FnOnce(&[u8]) -> Result<T, PhotoError>) -> Result<T, SkippedFile> {
        let decoded = read(&self.path).and_then(|bytes| {
            let digest: [u8; 32] = Sha256::digest(&bytes).into();
            if digest != self.digest {
                return Err(PhotoError::damaged("the file has changed since it was first read; start again"));
            }
            decode(&bytes)
        });
        decoded.map_err(|error| SkippedFile { path: self.path.clone(), reason: error.message })
    }
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

/// An error that names the file and the reason.
impl From<SkippedFile> for Error {
    fn from(file: SkippedFile) -> Self {
        Self::because(file.path.display(), file.reason).with_kind(ErrorKind::InvalidData)
    }
}
