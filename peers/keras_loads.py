"""keras_loads.py MODEL TOLERANCE X.npy Y.npy [WEIGHTS [by_name]]: Keras loads MODEL in safe mode and WEIGHTS; it predicts Y from X."""

import sys

import keras
import numpy as np

model_file, tolerance, x, y, *weights = sys.argv[1:]
model = keras.saving.load_model(model_file)
if weights:
    for variable in model.weights:
        variable.assign(np.zeros(variable.shape))
    model.load_weights(weights[0], **({"by_name": True} if weights[1:] == ["by_name"] else {}))
found, expected = model.predict(np.load(x), verbose=0), np.load(y)
difference = np.abs(found - expected).max()
assert found.shape == expected.shape and difference <= float(tolerance), f"{model_file}: predictions differ by {difference}"
print(difference)
