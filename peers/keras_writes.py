"""keras_writes.py FOLDER OPTIMIZER...: Keras trains a model and writes it in every format, with its predictions and losses.

Each OPTIMIZER is serialized by Keras' rules. The files of the first are in the subfolder 0, those of the second in 1, ...
"""

import json
import pathlib
import sys

import keras
import numpy as np
from keras import layers

x = np.random.default_rng(7).uniform(0, 255, (4, 16, 16, 3)).astype("f4")
labels = np.eye(3, dtype="f4")[[0, 1, 2, 0]]


def write(folder, optimizer):
    keras.utils.clear_session()
    keras.utils.set_random_seed(7)
    inputs = keras.Input((16, 16, 3))
    base = [layers.Conv2D(4, 3, activation="relu", trainable=False), layers.MaxPooling2D(trainable=False)]
    base = keras.Sequential([keras.Input((16, 16, 3)), *base, layers.Conv2D(4, 3, activation="relu")])
    y = base(layers.Rescaling(1 / 255)(inputs))
    y = layers.BatchNormalization()(layers.Flatten()(y))
    y = layers.Dense(3, activation="softmax")(layers.Dropout(0.0)(y))
    model = keras.Model(inputs, y)
    model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, labels, batch_size=4, epochs=2, verbose=0)
    for name in ["model.keras", "model.h5"]:
        model.save(folder / name)
    model.save_weights(folder / "model.weights.h5")
    arrays = {"x": x, "labels": labels, "y": model.predict(x, verbose=0)}
    arrays["losses"] = np.array(model.fit(x, labels, batch_size=4, epochs=3, shuffle=False, verbose=0).history["loss"])
    np.savez(folder / "arrays.npz", **arrays)


for number, optimizer in enumerate(sys.argv[2:]):
    folder = pathlib.Path(sys.argv[1]) / str(number)
    folder.mkdir()
    write(folder, keras.optimizers.deserialize(json.loads(optimizer)))
