"""onnx_predicts.py FILE TOLERANCE X.npy Y.npy CLASSES.json: onnxruntime runs an exported FILE and predicts Y from the photos X.

It runs the photos one at a time and as a batch. `onnx.checker` must find no error, and the metadata must have the class names and
the image size.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime

file, tolerance, x, y, classes = sys.argv[1:]
onnx.checker.check_model(file, full_check=True)
opset = onnx.load(file).opset_import[0].version
assert opset >= 17, f"{file}: opset {opset}"

session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
x, expected = np.load(x), np.load(y)
metadata = session.get_modelmeta().custom_metadata_map
assert json.loads(metadata["class_names"]) == json.loads(pathlib.Path(classes).read_text()), f"{file}: {metadata}"
assert json.loads(metadata["input_size"]) == list(x.shape[1:3]), f"{file}: {metadata}"

(photos,) = session.get_inputs()
together = session.run(None, {photos.name: x})[0]
each = np.concatenate([session.run(None, {photos.name: x[i : i + 1]})[0] for i in range(len(x))])
for found in [together, each]:
    difference = np.abs(found - expected).max()
    assert found.shape == expected.shape and difference <= float(tolerance), f"{file}: predictions differ by {difference}"
    print(difference)
