"""Prints Keras' predictions, one line per sample: `check_keras.py MODEL.keras X.npy`.

The model is loaded in Keras' default safe mode. This script is a manual check; no test runs it.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

path, x = sys.argv[1], np.load(sys.argv[2])
model = keras.models.load_model(path)
for row in np.asarray(model.predict(x, verbose=0)).reshape(len(x), -1):
    print(*(repr(float(value)) for value in row))
