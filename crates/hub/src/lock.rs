//! The lock file of a download: of several processes that want one file, one downloads it and the others wait.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::HubError;
use crate::error::disk_error;

/// Locks the file at `path`, and waits while another process holds the lock.
///
/// The lock ends when the returned handle is dropped. The operating system releases it too if the process is killed.
pub(crate) fn lock(path: &Path) -> Result<File, HubError> {
    let file = File::create(path).map_err(disk_error(path, "written"))?;
    match file.lock() {
        // Some network file systems don't support locks. Then two processes may download the file twice, which does no harm.
        Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(disk_error(path, "locked")(error)),
        _ => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_holds_until_its_handle_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.lock");
        let held = lock(&path).unwrap();
        let other = File::open(&path).unwrap();
        assert!(other.try_lock().is_err());
        drop(held);
        assert!(other.try_lock().is_ok());
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = lock(folder.path()).unwrap_err();
        assert!(matches!(&error, HubError::Disk { path, action: "written", .. } if path == folder.path()), "{error}");
    }
}
