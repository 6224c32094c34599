"""Predictions and gradients of the networks of `keras.applications`, with weights by a formula, so that no weights are stored."""

import contextlib
import json
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

import store

LAYERS = {layer.__name__: layer for layer in (LayerScale, StochasticDepth, CustomScaleLayer)}
SMALL = {"include_top": True, "classes": 7, "classifier_activation": None}
POOLED = {"include_top": False, "pooling": "avg"}

# One network of each family, and options that change its layers: name, image side, arguments.
NETWORKS = [
    ("VGG16", 32, POOLED),
    ("VGG19", 32, POOLED),
    ("ResNet50", 64, SMALL),
    ("ResNet50V2", 64, SMALL),
    ("DenseNet121", 64, SMALL),
    ("Xception", 71, SMALL),
    ("InceptionV3", 75, SMALL),
    ("InceptionResNetV2", 75, SMALL),
    ("MobileNet", 64, SMALL),
    ("MobileNet", 64, {**SMALL, "alpha": 0.5, "depth_multiplier": 2}),
    ("MobileNetV2", 64, SMALL),
    ("MobileNetV2", 65, {**POOLED, "alpha": 0.35}),
    ("MobileNetV3Small", 64, SMALL),
    ("MobileNetV3Small", 64, {**SMALL, "alpha": 0.75, "minimalistic": True, "include_preprocessing": False}),
    ("MobileNetV3Large", 64, {**SMALL, "alpha": 0.75}),
    ("NASNetMobile", 64, SMALL),
    ("EfficientNetB0", 64, SMALL),
    ("EfficientNetB1", 67, POOLED),
    ("EfficientNetV2B0", 64, SMALL),
    ("EfficientNetV2S", 64, {**POOLED, "include_preprocessing": False}),
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


def images(count, side, pixels, noise=99_997):
    """The first images, in a range of pixels. Neighbouring pixels are alike, as in photos: blocks of 8 by 8. They differ by the
    numbers of array `noise`, as the maximum of equal pixels would have several places."""
    small = numbers(99_999, (count, -(-side // 8), -(-side // 8), 3), *pixels)
    blocks = np.repeat(np.repeat(small, 8, 1), 8, 2)[:, :side, :side]
    return np.float32(0.75) * blocks + np.float32(0.25) * numbers(noise, blocks.shape, *pixels)


def set_weights(model, x):
    """Weights by the formula. The moving variances of each BatchNormalization have a factor, the mean square of what it is called
    on, and the moving means its root, so that numbers stay near 1; returns the factors in the order of the weights."""
    for k, variable in enumerate(model.weights):
        name = variable.path.rsplit("/", 1)[-1]
        if name != "count":
            variable.assign(numbers(k, variable.shape, *bounds(name, tuple(variable.shape))))
    apply_statistics(model)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    factors = {}
    with contextlib.ExitStack() as patches:
        for layer in norms:
            patches.enter_context(mock.patch.object(layer, "call", scaled_first(layer, factors)))
        model(x, training=False)
    return [factors[layer.name] for layer in norms]


def scaled_first(layer, factors):
    """The call of a BatchNormalization, which scales the moving mean and the moving variance first."""
    call = layer.call

    def scaled(inputs, **options):
        factor = factors[layer.name] = float(f"{np.mean(np.square(inputs)):.2e}")
        layer.moving_mean.assign(layer.moving_mean * np.sqrt(np.float32(factor)))
        layer.moving_variance.assign(layer.moving_variance * np.float32(factor))
        return call(inputs, **options)

    return scaled


def apply_statistics(model):
    """Lets each Normalization compute with the mean and the variance that were assigned to it."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def as_float64(model):
    config = json.dumps(json.loads(model.to_json())).replace('"float32"', '"float64"')
    copy = keras.models.model_from_json(config, custom_objects=LAYERS)
    copy.set_weights(model.get_weights())
    apply_statistics(copy)
    return copy


def kinks(layer):
    """The numbers at which the derivative of a layer's activation jumps."""
    if isinstance(layer, keras.layers.ReLU):
        return [0.0] if layer.max_value is None else [0.0, layer.max_value]
    activation = getattr(getattr(layer, "activation", None), "__name__", None)
    return {"relu": [0.0], "relu6": [0.0, 6.0], "hard_sigmoid": [-3.0, 3.0], "hard_silu": [-3.0, 3.0]}.get(activation, [])


def before_activation(layer):
    """What the activation of a layer is called on."""
    if isinstance(layer, (keras.layers.Activation, keras.layers.ReLU)):
        return layer.input
    linear = type(layer).from_config({**layer.get_config(), "name": f"{layer.name}_linear", "activation": None})
    y = linear(layer.input)
    linear.set_weights(layer.get_weights())
    return y


def lead_of_maximum(layer, x):
    """By how much the largest number of each window of a MaxPooling2D exceeds the second largest."""
    if layer.padding == "same":
        sizes = zip(x.shape[1:3], layer.pool_size, layer.strides)
        missing = [max(pool - (size % stride or stride), 0) for size, pool, stride in sizes]
        x = np.pad(x, [(0, 0), *((n // 2, n - n // 2) for n in missing), (0, 0)], constant_values=-np.inf)
    rows, columns = layer.strides
    windows = np.lib.stride_tricks.sliding_window_view(x, layer.pool_size, (1, 2))[:, ::rows, ::columns]
    second, first = np.moveaxis(np.partition(windows.reshape(*windows.shape[:4], -1), -2)[..., -2:], -1, 0)
    return first - second


class Kinks:
    """The layers of a model whose derivative jumps: activations like ReLU, and the maximum of a window."""

    def __init__(self, model):
        self.activations = [layer for layer in model.layers if kinks(layer)]
        self.pools = [layer for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D) and layer.pool_size != (1, 1)]
        tensors = [*map(before_activation, self.activations), *(layer.input for layer in self.pools)]
        self.inputs = keras.Model(model.input, tensors) if tensors else lambda x, training: []

    def distances(self, x):
        """The signed distances of the numbers in each of the layers from the nearest kinks on each side."""
        values = [value.numpy().astype("float64") for value in self.inputs(x, training=False)]
        activations = [np.stack([value - kink for kink in kinks(layer)]) for layer, value in zip(self.activations, values)]
        return activations + [lead_of_maximum(*pair) for pair in zip(self.pools, values[len(activations) :])]


def is_near_kink(single, double):
    """Whether a distance is at most eight times the root mean square of what Keras' own rounding changes in the layer. Numbers at a
    kink in float64 are zeros of a ReLU before or of padding, whose gradient is zero on either side."""
    rounding = np.sqrt(np.mean(np.square(single - double)))
    return np.any((double != 0) & (np.abs(double) <= 8 * rounding))


def image_away_from_kinks(single, double, side, pixels):
    """The first image with another noise: that of the first seed for which no number is near a kink.

    The gradient jumps at a kink. If rounding may carry a number across, the gradient isn't determined at single precision: each
    order of a sum gives another one.
    """
    single, double = Kinks(single), Kinks(double)
    for seed in range(400):
        image = images(1, side, pixels, 100_000 + seed)
        pairs = zip(single.distances(image), double.distances(image.astype("float64")), strict=True)
        if not any(is_near_kink(*pair) for pair in pairs):
            return seed, image
    raise ValueError("expected an image for which no number is near a kink, received none of 400")


def results(model, x, image, upstream):
    """The outputs for `x`; for `image`, the gradient with respect to it, and the gradients of the trainable weights."""
    y = model(x, training=False)
    image = tf.constant(image, y.dtype)
    with tf.GradientTape() as tape:
        tape.watch(image)
        total = tf.reduce_sum(model(image, training=False) * tf.constant(upstream, y.dtype))
    variables = [v.value for v in model.trainable_variables]
    dx, *gradients = tape.gradient(total, [image, *variables])
    return y.numpy(), dx.numpy(), [g.numpy().astype("float64") for g in gradients]


def arrays(y, dx, gradients):
    """What is stored: the outputs, every third row and column of the gradient with respect to the image, which show as much of it,
    and for each trainable weight the sum of its gradient times numbers by the formula."""
    sums = [np.sum(g * numbers(k, g.shape, -1, 1)) for k, g in enumerate(gradients)]
    return {"y": y, "dx": dx[:, ::3, ::3], "sums": np.array(sums)}


def tolerance(single, double, size):
    """Four times Keras' own distance from float64, plus 1e-5 of the size."""
    return 4 * np.abs(single - double) + 1e-5 * np.abs(size)


def case_of(name, side, arguments):
    keras.backend.clear_session()
    model = getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3), **arguments)
    pixels = (0, 255) if name.startswith(TAKES_PIXELS) else (-1.5, 1.5)
    x = images(3, side, pixels)
    factors = set_weights(model, x)
    keras.config.set_floatx("float64")
    exact_model = as_float64(model)
    keras.config.set_floatx("float32")
    seed, image = image_away_from_kinks(model, exact_model, side, pixels)
    upstream = numbers(99_998, (1, model.output_shape[-1]), -1, 1)
    y, dx, gradients = results(model, x, image, upstream)
    if np.ptp(y, axis=0).max() < 0.02 * np.abs(y).max():
        raise ValueError(f"{name}: the outputs hardly depend on the image")
    single = arrays(y, dx, gradients)
    double = arrays(*results(exact_model, x.astype("float64"), image.astype("float64"), upstream))
    # The size that a sum has if the numbers of its gradient are independent is the root of the sum of squares.
    sizes = np.array([np.sqrt(np.sum(np.square(g))) for g in gradients])
    case = store.Case()
    for key, value in single.items():
        size = sizes if key == "sums" else np.abs(double[key]).max()
        limit = tolerance(value, double[key], size)
        case.put(key, value)
        case.put(f"{key}_tolerance", limit if key == "sums" else limit.max())
    return case, {
        "network": name,
        "side": side,
        "arguments": {key: value for key, value in arguments.items() if value is not None},
        "pixels": pixels,
        "seed": seed,
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
