"""Predictions and gradients of the networks of `keras.applications`, with weights by a formula, so that no weights are stored."""

import json

import keras
import numpy as np
import tensorflow as tf
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

import store

LAYERS = {layer.__name__: layer for layer in (LayerScale, StochasticDepth, CustomScaleLayer)}
SMALL = {"include_top": True, "classes": 7, "classifier_activation": None}
POOLED = {"include_top": False, "pooling": "avg"}

# Networks, and options that change their layers: name, image side, arguments.
NETWORKS = [
    ("VGG16", 32, POOLED),
    ("VGG19", 32, POOLED),
    ("ResNet50", 64, SMALL),
    ("ResNet50V2", 64, SMALL),
    ("DenseNet121", 64, SMALL),
    ("InceptionResNetV2", 75, SMALL),
    ("MobileNet", 64, SMALL),
    ("MobileNet", 64, {**SMALL, "alpha": 0.5, "depth_multiplier": 2}),
    ("MobileNetV3Small", 64, {**SMALL, "alpha": 0.75, "minimalistic": True, "include_preprocessing": False}),
    ("NASNetMobile", 64, SMALL),
    ("ConvNeXtTiny", 64, SMALL),
]

# These networks take pixels from 0 to 255; the others take numbers around 0.
TAKES_PIXELS = ("MobileNetV3", "EfficientNet", "ConvNeXt")

FORMULA = """number i of array k: x = i ^ (k * 0x9e3779b9); x ^= x >> 16; x *= 0x7feb352d; x ^= x >> 15; x *= 0x846ca68b; \
x ^= x >> 16 (32 bits); low + (high - low) * x / 2**32"""


def numbers(k, shape, low, high):
    """Numbers of array `k` by the formula."""
    x = np.arange(int(np.prod(shape)), dtype=np.uint32) ^ np.uint32(k * 0x9E3779B9 & 0xFFFFFFFF)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return (low + (high - low) * (x / 2.0**32)).astype("float32").reshape(shape)


def bounds(name, shape):
    """The range of a weight. Kernels keep the variance of a ReLU's output."""
    if name in ("gamma", "moving_variance", "variance"):
        return 0.7, 1.3
    if len(shape) < 2:
        return -0.3, 0.3
    fan_in = np.prod(shape[:2] if shape[-1] == 1 else shape[:-1])
    limit = np.sqrt(6.0 / fan_in)
    return -limit, limit


def set_weights(model, x):
    """Weights by the formula. The moving variances of each BatchNormalization have a factor, as the variance of what it is called
    on depends on the network; returns the factors in the order of the weights."""
    for k, variable in enumerate(model.weights):
        name = variable.path.rsplit("/", 1)[-1]
        if name != "count":
            variable.assign(numbers(k, variable.shape, *bounds(name, tuple(variable.shape))))
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    means = [layer.moving_mean.numpy() for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(x, training=True)
    for layer, momentum, mean in zip(norms, momenta, means):
        layer.momentum = momentum
        layer.moving_mean.assign(mean)
    factors = []
    for k, variable in enumerate(model.weights):
        if variable.path.endswith("/moving_variance"):
            factor = float(f"{variable.numpy().mean():.2e}")
            factors.append(factor)
            variable.assign(np.float32(factor) * numbers(k, variable.shape, 0.7, 1.3))
    return factors


def as_float64(model):
    config = json.dumps(json.loads(model.to_json())).replace('"float32"', '"float64"')
    copy = keras.models.model_from_json(config, custom_objects=LAYERS)
    copy.set_weights(model.get_weights())
    return copy


def results(model, x, upstream, dtype):
    """The outputs, and for each trainable weight the sum of its gradient times numbers by the formula."""
    x = tf.constant(x, dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = model(x, training=False)
        total = tf.reduce_sum(y * tf.constant(upstream, dtype))
    variables = [v.value for v in model.trainable_variables]
    dx, *gradients = tape.gradient(total, [x, *variables])
    sums = [np.sum(g.numpy().astype("float64") * numbers(k, g.shape, -1, 1)) for k, g in enumerate(gradients)]
    return {"y": y.numpy(), "dx": dx.numpy(), "sums": np.array(sums)}


def scales(model, x, upstream):
    """The size that the sum of each gradient has if its numbers are independent: the root of the sum of squares."""
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model(tf.constant(x), training=False) * upstream)
    gradients = tape.gradient(total, [v.value for v in model.trainable_variables])
    return np.array([np.sqrt(np.sum(np.square(g.numpy().astype("float64")))) for g in gradients])


def tolerance(single, double, size):
    """Four times Keras' own distance from float64, plus 1e-5 of the size."""
    return 4 * np.abs(single - double) + 1e-5 * np.abs(size)


def case_of(name, side, arguments):
    keras.backend.clear_session()
    model = getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3), **arguments)
    low, high = (0, 255) if name.startswith(TAKES_PIXELS) else (-1.5, 1.5)
    # Neighbouring pixels are alike, as in photos: blocks of 8 by 8. They aren't equal, as a maximum would have several places then.
    small = numbers(99_999, (3, -(-side // 8), -(-side // 8), 3), low, high)
    blocks = np.repeat(np.repeat(small, 8, 1), 8, 2)[:, :side, :side]
    x = np.float32(0.75) * blocks + np.float32(0.25) * numbers(99_997, blocks.shape, low, high)
    factors = set_weights(model, x)
    upstream = numbers(99_998, (3, model.output_shape[-1]), -1, 1)
    single, size = results(model, x, upstream, "float32"), scales(model, x, upstream)
    keras.config.set_floatx("float64")
    double = results(as_float64(model), x, upstream, "float64")
    keras.config.set_floatx("float32")
    y = single["y"]
    if np.ptp(y, axis=0).max() < 0.02 * np.abs(y).max():
        raise ValueError(f"{name}: the outputs hardly depend on the image")
    case = store.Case()
    # Every third row and column shows as much of the gradient with respect to the image.
    part = {key: (value[:, ::3, ::3] if key == "dx" else value) for key, value in single.items()}
    for key, value in part.items():
        exact = double[key][:, ::3, ::3] if key == "dx" else double[key]
        most = {"y": np.abs(exact).max(), "dx": np.abs(exact).max(), "sums": size}[key]
        limit = tolerance(value, exact, most)
        case.put(key, value)
        case.put(f"{key}_tolerance", limit if key == "sums" else limit.max())
    return case, {
        "network": name,
        "side": side,
        "arguments": {key: value for key, value in arguments.items() if value is not None},
        "pixels": [low, high],
        "model_name": model.name,
        "parameters": model.count_params(),
        "factors": factors,
    }


def write(directory):
    entries = []
    for name, side, arguments in NETWORKS:
        options = [f"{key}{value}" for key, value in arguments.items() if key in ("alpha", "depth_multiplier", "minimalistic")]
        case, entry = case_of(name, side, arguments)
        label = "_".join([name, *options]).replace(".", "")
        store.write_npz(directory / f"{label}.npz", case)
        entries.append({"case": label, **entry})
        print(label, flush=True)
    store.write_index(directory, entries)
