"""safetensors_predicts.py FILE PRECISION METADATA.json MODEL TOLERANCE X.npy Y.npy: MODEL with the weights of FILE predicts Y from X.

The safetensors package reads FILE. Tensors are named by Keras' weight paths; kernels are in PRECISION (f32 or f16), others in f32.
"""

import json
import pathlib
import sys

import keras
import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

file, precision, metadata, model_file, tolerance, x, y = sys.argv[1:]
with safe_open(file, "np") as opened:
    found = opened.metadata()
    assert found.pop("engraft_version"), f"{file}: no version of the program that wrote it"
    assert found == json.loads(pathlib.Path(metadata).read_text()), f"{file}: metadata {found}"
tensors = load_file(file)
model = keras.saving.load_model(model_file)
names = [variable.path for variable in model.weights]
assert sorted(tensors) == sorted(names), f"{file}: expected tensors {sorted(names)}, received {sorted(tensors)}"
for variable in model.weights:
    values = tensors[variable.path]
    kind = np.float16 if precision == "f16" and values.ndim > 1 else np.float32
    assert values.dtype == kind and values.shape == variable.shape, f"{variable.path}: {values.dtype} {values.shape}"
    variable.assign(values)
found, expected = model.predict(np.load(x), verbose=0), np.load(y)
difference = np.abs(found - expected).max()
assert found.shape == expected.shape and difference <= float(tolerance), f"{file}: predictions differ by {difference}"
print(difference)
