//! The folder of the cache: its packs, and how they are written and deleted.
//!
//! Links are never followed: a linked folder or file counts as absent, so that nothing outside the folder is read or deleted.

use std::fs::{self, DirEntry, File, FileTimes};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::Digest;

const EXTENSION: &str = "pack";
/// Start of the name of a file that is being written.
const TEMPORARY: &str = ".new-";
/// Name of the file with the network's name.
const NAME: &str = "name";
/// A temporary file of this age is left over from a process that was killed.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A pack in the folder.
#[derive(Clone, Debug)]
pub(crate) struct PackFile {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// When a process last read or wrote the pack: the modification time of the file.
    pub(crate) used: SystemTime,
}

/// The folder of a network.
pub(crate) fn network_folder(folder: &Path, network: &Digest) -> PathBuf {
    folder.join(hex(network))
}

fn hex(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest that names a folder of a network.
fn from_hex(name: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    if name.len() != 64 || !name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (byte, digits) in digest.iter_mut().zip(name.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(digest)
}

/// The entries of a real folder; empty where it is missing.
fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::symlink_metadata(folder) {
        Ok(metadata) if metadata.is_dir() => fs::read_dir(folder)?.collect(),
        Ok(_) => Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The networks with a folder in the cache.
pub(crate) fn networks(folder: &Path) -> io::Result<Vec<Digest>> {
    let is_folder = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let name = |entry: DirEntry| entry.file_name().to_str().and_then(from_hex);
    Ok(entries(folder)?.into_iter().filter(is_folder).filter_map(name).collect())
}

/// The packs of a network.
pub(crate) fn packs(network_folder: &Path) -> io::Result<Vec<PackFile>> {
    let pack = |entry: DirEntry| {
        let path = entry.path();
        // Another process may have deleted the file since.
        let metadata = entry.metadata().ok().filter(|metadata| metadata.is_file())?;
        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let is_pack = path.extension().is_some_and(|extension| extension == EXTENSION);
        is_pack.then_some(PackFile { path, bytes: metadata.len(), used })
    };
    Ok(entries(network_folder)?.into_iter().filter_map(pack).collect())
}

/// The packs of all networks.
pub(crate) fn all_packs(folder: &Path) -> io::Result<Vec<PackFile>> {
    let of_network = |network| packs(&network_folder(folder, &network));
    Ok(networks(folder)?.into_iter().map(of_network).collect::<io::Result<Vec<_>>>()?.concat())
}

/// The name that the network was given; empty if it is unknown.
pub(crate) fn read_name(network_folder: &Path) -> String {
    let path = network_folder.join(NAME);
    let is_short_file = fs::symlink_metadata(&path).is_ok_and(|file| file.is_file() && file.len() < 1000);
    if is_short_file { fs::read_to_string(path).unwrap_or_default() } else { String::new() }
}

/// Writes a pack, made of `parts`, into the folder of a network, under a temporary name at first.
pub(crate) fn write_pack(network_folder: &Path, name: &str, parts: &[Vec<u8>]) -> io::Result<PathBuf> {
    create_folder(network_folder)?;
    if !network_folder.join(NAME).exists() {
        persist(network_folder, &[name.as_bytes()], |_| NAME.to_owned())?;
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    // The random part of the temporary name makes the final name unique too.
    persist(network_folder, &parts, |random| format!("{random}.{EXTENSION}"))
}

/// Creates the folder and its parents, and refuses links.
fn create_folder(network_folder: &Path) -> io::Result<()> {
    fs::create_dir_all(network_folder)?;
    for folder in [network_folder.parent().unwrap_or(network_folder), network_folder] {
        if !fs::symlink_metadata(folder)?.is_dir() {
            let problem = format!("{} is a link, which isn't followed", folder.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
    }
    Ok(())
}

fn persist(folder: &Path, parts: &[&[u8]], name: impl FnOnce(&str) -> String) -> io::Result<PathBuf> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY).rand_bytes(12);
    #[cfg(unix)]
    {
        // As for other new files, the umask decides. Without this, temporary files are private.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    let random = file.path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let path = folder.join(name(random.trim_start_matches(TEMPORARY)));
    // No sync: a power failure may cut the file, which its checksums show.
    file.persist(&path).map_err(|error| error.error)?;
    Ok(path)
}

/// Records that a pack is used now.
pub(crate) fn touch(pack: &Path) {
    // Without write access, the pack only seems older than it is.
    let now = FileTimes::new().set_modified(SystemTime::now());
    let _ = File::options().append(true).open(pack).and_then(|file| file.set_times(now));
}

/// Deletes packs, the least recently used first, until `bytes` more fit below `limit`. Those in `keep` stay.
///
/// Returns whether they fit.
pub(crate) fn make_room(folder: &Path, bytes: u64, limit: u64, keep: impl Fn(&Path) -> bool) -> io::Result<bool> {
    remove_abandoned(folder)?;
    let mut packs = all_packs(folder)?;
    let mut total = packs.iter().map(|pack| pack.bytes).sum::<u64>().saturating_add(bytes);
    packs.sort_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
    for pack in packs.iter().filter(|pack| !keep(&pack.path)) {
        if total <= limit {
            break;
        }
        // If it is gone, another process has made the same room.
        fs::remove_file(&pack.path).or_else(ignore_missing)?;
        total -= pack.bytes;
    }
    Ok(total <= limit)
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Deletes the temporary files of processes that were killed.
fn remove_abandoned(folder: &Path) -> io::Result<()> {
    for network in networks(folder)? {
        for entry in entries(&network_folder(folder, &network))?.into_iter().filter(is_temporary) {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|modified| modified.elapsed().ok());
            if age.is_some_and(|age| age > ABANDONED) {
                fs::remove_file(entry.path()).or_else(ignore_missing)?;
            }
        }
    }
    Ok(())
}

fn is_temporary(entry: &DirEntry) -> bool {
    entry.file_name().to_str().is_some_and(|name| name.starts_with(TEMPORARY))
}

/// Deletes all files of the cache, and the folders that are empty afterwards. Returns the bytes of the deleted packs.
pub(crate) fn clear(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for network in networks(folder)? {
        let network = network_folder(folder, &network);
        for pack in packs(&network)? {
            fs::remove_file(&pack.path).or_else(ignore_missing)?;
            bytes += pack.bytes;
        }
        for entry in entries(&network)? {
            if is_temporary(&entry) || entry.file_name() == NAME {
                fs::remove_file(entry.path()).or_else(ignore_missing)?;
            }
        }
        // A folder with other files in it stays.
        let _ = fs::remove_dir(network);
    }
    let _ = fs::remove_dir(folder);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, network: u8, bytes: usize) -> PathBuf {
        write_pack(&network_folder(folder, &[network; 32]), "a name", &[vec![0; bytes]]).unwrap()
    }

    fn set_age(pack: &Path, seconds: u64) {
        let time = SystemTime::now() - Duration::from_secs(seconds);
        File::options().append(true).open(pack).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn the_least_recently_used_goes_first_and_what_is_kept_stays() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("features");
        let packs: Vec<PathBuf> = (0..4).map(|network| write(&folder, network % 2, 100)).collect();
        packs.iter().zip([30, 40, 10, 20]).for_each(|(pack, age)| set_age(pack, age));
        let left = || packs.iter().map(|pack| pack.exists()).collect::<Vec<_>>();

        assert!(make_room(&folder, 100, 500, |_| false).unwrap());
        assert_eq!(left(), [true, true, true, true]);
        touch(&packs[1]);
        assert!(make_room(&folder, 100, 400, |_| false).unwrap());
        assert_eq!(left(), [false, true, true, true]);
        assert!(!make_room(&folder, 350, 400, |pack| pack == packs[2]).unwrap());
        assert_eq!(left(), [false, false, true, false]);
    }

    #[test]
    fn a_killed_process_leaves_no_temporary_file_for_long() {
        let home = tempfile::tempdir().unwrap();
        let pack = write(home.path(), 1, 1);
        let [old, new] = ["old", "new"].map(|name| pack.with_file_name(format!("{TEMPORARY}{name}")));
        [&old, &new].iter().for_each(|path| fs::write(path, "half a pack").unwrap());
        set_age(&old, 2 * ABANDONED.as_secs());
        make_room(home.path(), 0, 1 << 20, |_| false).unwrap();
        assert_eq!((old.exists(), new.exists(), pack.exists()), (false, true, true));
    }

    #[test]
    fn clearing_leaves_files_of_others_alone() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("features");
        let packs = [1, 2].map(|network| write(&folder, network, 50));
        let (other, letter) = (folder.join("my photos"), packs[0].with_file_name("letter.txt"));
        fs::create_dir(&other).unwrap();
        [other.join("x.pack"), letter.clone()].iter().for_each(|path| fs::write(path, "mine").unwrap());
        assert_eq!(clear(&folder).unwrap(), 100);
        assert_eq!((other.join("x.pack").exists(), letter.exists()), (true, true));
        assert!(!packs[0].exists() && !packs[1].parent().unwrap().exists());
        assert_eq!(clear(&home.path().join("absent")).unwrap(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        use std::os::unix::fs::symlink;
        let home = tempfile::tempdir().unwrap();
        let (folder, outside) = (home.path().join("features"), home.path().join("outside"));
        let pack = write(&outside, 1, 100);
        // A linked network, a linked pack, a linked cache.
        fs::create_dir(&folder).unwrap();
        symlink(pack.parent().unwrap(), network_folder(&folder, &[1; 32])).unwrap();
        let own = write(&folder, 2, 10);
        symlink(&pack, own.with_file_name("linked.pack")).unwrap();
        let linked = home.path().join("linked");
        symlink(&outside, &linked).unwrap();

        assert_eq!(all_packs(&folder).unwrap().len(), 1);
        assert!(all_packs(&linked).unwrap().is_empty());
        make_room(&folder, 0, 0, |_| false).unwrap();
        clear(&folder).unwrap();
        clear(&linked).unwrap();
        assert!(pack.exists() && !own.exists());
        for refused in [&folder, &linked] {
            let error = write_pack(&network_folder(refused, &[1; 32]), "", &[vec![1]]);
            assert_eq!(error.is_ok(), refused == &folder && !network_folder(&folder, &[1; 32]).is_symlink());
        }
    }
}
