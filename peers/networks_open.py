"""networks_open.py FOLDER MODELS: the base of each MODELS/NAME.keras is the network of FOLDER/NAME.FORMAT.

Its weights are equal, and so are its outputs, but for rounding. Where Keras has a second Rescaling, the outputs alone tell.
"""

import pathlib
import sys

import keras
import numpy as np
from keras import applications

folder, models = map(pathlib.Path, sys.argv[1:])


def layers_of(model):
    """The layers with weights."""
    return [layer for layer in model.layers if layer.weights]


def original(file, name, size):
    """The network without its top, with the weights of a file of Keras."""
    keras.utils.clear_session()
    make = getattr(applications, name)
    # ConvNeXt ends in a normalization of what is pooled.
    pooled = {"pooling": "avg" if name.startswith("ConvNeXt") else None}
    if not file.name.endswith(".weights.h5"):
        whole = keras.saving.load_model(file)
        if len(whole.output_shape) == 4:
            return whole
    else:
        for include_top in [True, False]:
            keras.utils.clear_session()
            whole = make(weights=None, include_top=include_top, input_shape=(size, size, 3), **pooled)
            try:
                whole.load_weights(file)
                break
            except ValueError:
                continue
        if not include_top:
            return whole
    keras.utils.clear_session()
    base = make(weights=None, include_top=False, input_shape=(size, size, 3), **pooled)
    for layer, saved in zip(layers_of(base), layers_of(whole)):
        layer.set_weights(saved.get_weights())
    return base


for line in (folder / "networks.txt").read_text().splitlines():
    file, _, size = line.split()
    name, size = file.split(".")[0], int(size)
    base = original(folder / file, name, size)
    trained = keras.saving.load_model(models / f"{name}.keras")
    expected = layers_of(base)
    # The trained model has preprocessing before the base and a head after it.
    found = layers_of(trained)
    start = next(i for i, layer in enumerate(found) if type(layer) is type(expected[0]))
    found = found[start : start + len(expected)]
    assert len(found) == len(expected), f"{name}: {len(found)} layers, not {len(expected)}"
    for layer, other in zip(found, expected):
        if isinstance(layer, keras.layers.Normalization):
            # Its variance takes the place of the second Rescaling; the outputs tell.
            continue
        for weight, value in zip(layer.get_weights(), other.get_weights(), strict=True):
            assert np.array_equal(weight, value), f"{name}: the weights of {other.name} differ"
    ours = keras.Model(found[0].input, trained.get_layer(base.layers[-1].name).output)
    theirs = keras.Model(expected[0].input, base.output)
    x = np.random.default_rng(7).uniform(0, 255, (2, *ours.input_shape[1:])).astype("f4")
    a, b = (np.asarray(model(x, training=False)) for model in (ours, theirs))
    error = np.abs(a - b).max() / np.abs(b).max()
    tolerance = 1e-5
    if name == "EfficientNetB0":
        # It divides once by the deviation where Keras divides twice by its root. Each rounds; the layers above enlarge what pixels
        # that are rounded otherwise change.
        signs = np.random.default_rng(8).choice(np.float32([-1, 1]), (4, *x.shape))
        changed = [np.asarray(theirs(x * (1 + sign * np.finfo("f4").eps), training=False)) for sign in signs]
        tolerance = 4 * max(np.abs(c - b).max() for c in changed) / np.abs(b).max()
        assert tolerance < 2e-3, f"{name}: a rounding of the pixels changes the outputs by {tolerance / 4}"
    assert np.isfinite(b).all() and error <= tolerance, f"{name}: outputs are off by {error}, more than {tolerance}"
