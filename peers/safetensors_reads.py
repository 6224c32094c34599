"""safetensors_reads.py FOLDER: the safetensors package reads engraft's files, and writes one for engraft to read."""

import pathlib
import sys

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

folder = pathlib.Path(sys.argv[1])
expected = dict(np.load(folder / "expected.npz"))
for name, tolerance in [("f32.safetensors", 0), ("f16.safetensors", 5e-4)]:
    found = load_file(folder / name)
    assert sorted(found) == sorted(expected), sorted(found)
    for key, value in expected.items():
        # Biases stay in f32.
        kind = np.float32 if tolerance == 0 or value.ndim == 1 else np.float16
        assert found[key].dtype == kind and np.abs(found[key].astype("f4") - value).max() <= tolerance, key
with safe_open(folder / "f32.safetensors", "np") as file:
    assert file.metadata() == {"licence": "MIT"}
save_file({name: value.astype("f8") for name, value in expected.items()}, folder / "theirs.safetensors")
