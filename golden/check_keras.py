"""Prints what Keras predicts: `check_keras.py MODEL.keras X.npy`, one row of numbers a sample.

The model is loaded in Keras' default safe mode. For a test that has no Keras this is never needed.
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
