//! Output files: checks that they can be written before training or an export starts.

use std::path::{Path, PathBuf};

use engraft::{Error, ErrorKind};

use crate::failure::Failure;

/// The path of an output file whose folder exists and is writable.
#[derive(Debug)]
pub(crate) struct Destination(PathBuf);

impl Destination {
    /// Checks that a file can be created in the folder of `path`. `option` names the argument in errors.
    ///
    /// # Errors
    /// [`Failure::Usage`] if `path` is a folder, device or pipe, or ends in `..`. [`Failure::Failed`] if its folder is missing or not writable.
    pub(crate) fn check(option: &str, path: &Path) -> Result<Self, Failure> {
        if path.file_name().is_none() || path.is_dir() {
            let error = Error::new(option, "the name of a file to write", path.display());
            return Err(Failure::Usage(error.hint("add a file name, such as model.keras")));
        }
        // A rename would replace a device or pipe by a file.
        if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            let error =
                Error::new(option, "the name of a file to write", format_args!("{}, a device or pipe", path.display()));
            return Err(Failure::Usage(error.hint("write to a file, and copy it from there")));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match tempfile::Builder::new().prefix(".engraft").tempfile_in(folder) {
            // The temporary file of the check is deleted when dropped.
            Ok(_) => Ok(Self(path.to_owned())),
            Err(error) if !folder.is_dir() => Err(Error::because(folder.display(), "there is no such folder")
                .with_kind(ErrorKind::NotFound)
                .caused_by(error)
                .hint("create the folder first")
                .into()),
            Err(error) => Err(Error::because(path.display(), format_args!("can't be written: {}", reason(&error)))
                .with_kind(error.kind().into())
                .caused_by(error)
                .hint("give yourself write access to its folder, make room there, or name another place")
                .into()),
        }
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// The reason of an I/O error in words, such as "permission denied". The error's own text names the temporary file of the check,
/// which means nothing to the user.
fn reason(error: &std::io::Error) -> String {
    error.raw_os_error().map_or(error.kind().to_string(), |code| std::io::Error::from_raw_os_error(code).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(path: &Path) -> Failure {
        Destination::check("--output", path).unwrap_err()
    }

    #[test]
    fn a_good_place_is_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.keras");
        assert_eq!(Destination::check("--output", &path).unwrap().path(), path);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_bad_place_is_known_before() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(failure(folder.path()), Failure::Usage(_)));
        assert!(matches!(failure(Path::new("..")), Failure::Usage(_)));
        let Failure::Failed(error) = failure(&folder.path().join("absent/model.keras")) else { panic!() };
        assert!(
            error.to_string().contains("absent: there is no such folder\nhint: create the folder first"),
            "{error}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_never_replaced() {
        let Failure::Usage(error) = failure(Path::new("/dev/null")) else { panic!() };
        assert!(error.to_string().contains("received /dev/null, a device or pipe"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_that_cannot_be_written_is_known_before() {
        let Failure::Failed(error) = failure(Path::new("/proc/self/model.keras")) else { panic!() };
        let error = error.to_string();
        assert!(
            error.starts_with("/proc/self/model.keras: can't be written: ") && !error.contains(".engraft"),
            "{error}"
        );
    }
}
