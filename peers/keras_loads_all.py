"""keras_loads_all.py FOLDER: Keras loads each model in safe mode; from `x` it predicts `y` (or `y0`, `y1`, …) of the .npz.

The largest difference allowed is `tolerance` of the .npz, or 1e-4.
"""

import pathlib
import sys

import keras
import numpy as np

checked = 0
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    if path.suffix not in [".keras", ".h5"]:
        continue
    arrays = np.load(path.with_suffix(".npz"))
    tolerance = float(arrays["tolerance"].item()) if "tolerance" in arrays else 1e-4
    expected = [arrays[name] for name in sorted(arrays) if name.startswith("y")]
    found = keras.saving.load_model(path).predict(arrays["x"], verbose=0)
    found = found if isinstance(found, list) else [found]
    assert len(found) == len(expected), f"{path.name}: {len(found)} outputs"
    for one, other in zip(found, expected):
        difference = np.abs(one - other).max()
        assert one.shape == other.shape and difference <= tolerance, f"{path.name}: predictions differ by {difference}"
    checked += 1
print(checked)
