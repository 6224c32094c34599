"""keras2.py FOLDER: Keras 2 loads engraft's weights by order and by name, and writes files for engraft to read.

The model is the same as in the test. Only weights are tested, because Keras 2 can't open whole models of Keras 3 or of engraft.
The script trains a model with each optimizer and writes its files to the subfolders 0, 1, ...
"""

import pathlib
import sys

import numpy as np
import tf_keras as keras
from tf_keras import layers
from tf_keras.optimizers import SGD, Adam, AdamW, RMSprop

folder = pathlib.Path(sys.argv[1])
x, labels, expected = (np.load(folder / f"{name}.npy") for name in ["x", "labels", "y"])


def build():
    keras.backend.clear_session()
    keras.utils.set_random_seed(7)
    inputs = keras.Input((8, 8, 3))
    base = [layers.Conv2D(4, 3, activation="relu", name="conv"), layers.BatchNormalization(name="norm")]
    base[0].trainable = False
    base = keras.Sequential([keras.Input((8, 8, 3)), *base], name="base")
    y = layers.Flatten()(base(layers.Rescaling(1 / 255)(inputs)))
    y = layers.Dense(4, activation="tanh", name="hidden")(y)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="top")(y))


model = build()
for how in [{}, {"by_name": True}]:
    model.set_weights([np.zeros(weight.shape) for weight in model.weights])
    model.load_weights(folder / "ours.h5", **how)
    difference = np.abs(model.predict(x, verbose=0) - expected).max()
    assert difference <= 1e-4, f"{how}: predictions differ by {difference}"


def train(steps):
    return model.fit(x, labels, batch_size=len(x), epochs=steps, shuffle=False, verbose=0).history["loss"]


optimizers = [
    Adam(0.01),
    AdamW(0.01),
    SGD(0.01),
    SGD(0.01, momentum=0.9, nesterov=True),
    RMSprop(1e-3),
    RMSprop(1e-3, momentum=0.5),
    RMSprop(1e-3, centered=True),
    RMSprop(1e-3, momentum=0.5, centered=True),
]
for number, optimizer in enumerate(optimizers):
    theirs = folder / str(number)
    theirs.mkdir()
    model = build()
    model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
    train(2)
    model.save(theirs / "model.h5")
    model.save_weights(theirs / "weights.h5")
    np.save(theirs / "y.npy", model.predict(x, verbose=0))
    np.save(theirs / "losses.npy", train(3))
print(len(optimizers))
