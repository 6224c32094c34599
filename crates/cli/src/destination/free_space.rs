//! The free space of the disk below an output file.

use std::path::Path;

/// Bytes that this user may still write in `folder`; `None` if the system doesn't tell.
#[cfg(unix)]
pub(super) fn free_space(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// Bytes that this user may still write in `folder`; `None`, as only the systems of Unix tell.
#[cfg(not(unix))]
pub(super) fn free_space(_folder: &Path) -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_space_and_a_missing_one_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_space(folder.path()).is_some());
        assert_eq!(free_space(&folder.path().join("absent")), None);
    }
}
