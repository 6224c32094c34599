"""keras2.py FOLDER: the genuine Keras 2 takes our weights by order and by name, and writes files of its own for us.

Its model is that of the test; whole models of Keras 3, and so ours, it can't open.
"""

import pathlib
import sys

import numpy as np
import tf_keras as keras
from tf_keras import layers

folder = pathlib.Path(sys.argv[1])
keras.utils.set_random_seed(7)
inputs = keras.Input((8, 8, 3))
base = [layers.Conv2D(4, 3, activation="relu", name="conv"), layers.BatchNormalization(name="norm")]
base = keras.Sequential([keras.Input((8, 8, 3)), *base], name="base")
y = layers.Flatten()(base(layers.Rescaling(1 / 255)(inputs)))
model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="top")(y))

x, labels, expected = (np.load(folder / f"{name}.npy") for name in ["x", "labels", "y"])
for how in [{}, {"by_name": True}]:
    model.set_weights([np.zeros(weight.shape) for weight in model.weights])
    model.load_weights(folder / "ours.h5", **how)
    difference = np.abs(model.predict(x, verbose=0) - expected).max()
    assert difference <= 1e-4, f"{how}: predictions differ by {difference}"

model.compile(keras.optimizers.Adam(0.01), "categorical_crossentropy", metrics=["accuracy"])


def train(steps):
    return model.fit(x, labels, batch_size=len(x), epochs=steps, shuffle=False, verbose=0).history["loss"]


train(2)
model.save(folder / "theirs.h5")
model.save_weights(folder / "their_weights.h5")
np.save(folder / "theirs.npy", model.predict(x, verbose=0))
np.save(folder / "losses.npy", train(3))
