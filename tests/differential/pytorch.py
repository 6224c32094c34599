"""Where Keras on PyTorch, the oracle of images with their channels first, differs from Keras on TensorFlow."""

import keras
import numpy as np
from keras.src.backend.common import dtypes

from applications import leaves

L = keras.layers


def take_types_of_tensorflow():
    """Makes Keras' numbers 64 bits wide as on TensorFlow.

    A Normalization counts in Keras' `int`, whose bytes `summary()` shows; and a model in float64 must compute all of it in float64.
    """
    dtypes.PYTHON_DTYPES_MAP["int"] = "int64"
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"


def reason(model):
    """Why the model isn't the same on TensorFlow, or None."""
    reasons = (layer_reason(layer) for layer in leaves(model) if not isinstance(layer, L.InputLayer))
    return next((reason for reason in reasons if reason), None)


def layer_reason(layer):
    interpolation = getattr(layer, "interpolation", None)
    if interpolation == "bicubic" and not getattr(layer, "antialias", False):
        return "PyTorch's bicubic interpolation has another coefficient"
    if getattr(layer, "antialias", False) and layer.output.shape[-1] == 1:
        return "PyTorch's antialiased interpolation to a width of 1 mixes up rows: TensorFlow's is the same as along each axis alone"
    if isinstance(layer, L.AveragePooling2D) and layer.padding == "same":
        axes = zip(layer.input.shape[2:], layer.pool_size, layer.strides)
        if any(max((-(-size // stride) - 1) * stride + pool - size, 0) % 2 for size, pool, stride in axes):
            return "on PyTorch, an average counts the pixels that are padded on one side"
    if isinstance(layer, L.Conv2DTranspose) and layer.padding == "same" and layer.output_padding is not None:
        axes = zip(layer.input.shape[2:], layer.output.shape[2:], layer.strides)
        if any(-(-after // stride) != before for before, after, stride in axes):
            return "TensorFlow refuses an output that its convolution doesn't take back to the size of the input"
    if isinstance(layer, L.Rescaling) and np.ndim(layer.scale) + np.ndim(layer.offset) > 0:
        # It depends on Keras' configuration.
        if layer.input.shape[1] == layer.input.shape[-1]:
            return "a file doesn't tell whether the numbers of a Rescaling belong to the first axis or to the last"
    return None
