"""The networks of keras.applications, small and with weights that show a wrong block."""

import keras
import numpy as np
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

# The layers that these networks have of their own.
LAYERS = {layer.__name__: layer for layer in (LayerScale, StochasticDepth, CustomScaleLayer)}

# The smallest height and width that each family takes, rounded up to what its strides divide.
SIZES = {"Inception": 75, "Xception": 75, "NASNet": 64}


def network(name, **options):
    """A network; `options` replace those of its top."""
    size = next((size for family, size in SIZES.items() if name.startswith(family)), 64)
    # The outputs are compared before the softmax.
    options = options or {"classes": 7, "classifier_activation": None}
    return getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), **options)


def names():
    """All networks, by their classes."""
    return [name for name in dir(keras.applications) if name[0].isupper()]


def leaves(layer):
    layers = getattr(layer, "layers", None)
    return [leaf for inner in layers for leaf in leaves(inner)] if layers else [layer]


def settle(model, draw, x):
    """Gives each weight a value of its own. The statistics of BatchNormalization follow from `x`, so that values stay near 1."""
    norms = []
    for layer in leaves(model):
        for name, low, high in [("gamma", 0.7, 1.3), ("scale", 0.7, 1.3)]:
            if hasattr(getattr(layer, name, None), "assign"):
                getattr(layer, name).assign(draw.rng.uniform(low, high, getattr(layer, name).shape))
        for name in ("bias", "beta"):
            if hasattr(getattr(layer, name, None), "assign"):
                getattr(layer, name).assign(draw.rng.normal(0, 0.05, getattr(layer, name).shape))
        if isinstance(layer, keras.layers.BatchNormalization):
            norms.append(layer)
            layer.call = measured(layer, draw)
    model(x, training=False)
    for layer in norms:
        del layer.call


def measured(norm, draw):
    """A `call` that first sets the statistics, from what the layer is called on.

    All channels have nearly the same variance, the mean one: the variance of a channel of three pixels, as the last maps have, may be
    so small that it magnifies every rounding.
    """
    call = norm.call

    def measured_call(inputs, **arguments):
        axes = tuple(range(len(inputs.shape) - 1))
        norm.moving_mean.assign(keras.ops.mean(inputs, axes))
        variance = float(keras.ops.mean(keras.ops.var(inputs, axes)))
        norm.moving_variance.assign(variance * draw.rng.uniform(0.7, 1.3, norm.moving_variance.shape))
        return call(inputs, **arguments)

    return measured_call


def pixels(draw, model):
    """Photos whose neighbouring pixels are alike, from 0 to 255."""
    height, width, channels = model.inputs[0].shape[1:]
    small = draw.rng.uniform(0, 255, (3, -(-height // 8), -(-width // 8), channels))
    return np.repeat(np.repeat(small, 8, 1), 8, 2)[:, :height, :width].astype("float32")
