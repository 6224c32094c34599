"""Every layer, forward and backward, on small and odd shapes."""

import numpy as np
import tensorflow as tf
from keras import layers as L

import store

ELEMENTWISE = [
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "sigmoid", "hard_sigmoid", "tanh",
    "softplus", "softsign", "exponential", "silu", "hard_silu", "gelu", "mish",
]  # fmt: skip
IMAGE = (2, 5, 7, 3)


def convolutions():
    yield "conv2d_valid", L.Conv2D(4, 3, activation="relu"), [IMAGE]
    yield "conv2d_same", L.Conv2D(4, 3, padding="same", activation="relu"), [IMAGE]
    yield "conv2d_kernel1", L.Conv2D(5, 1, activation="tanh"), [IMAGE]
    yield "conv2d_kernel1_stride2", L.Conv2D(5, 1, strides=2), [IMAGE]
    yield "conv2d_kernel2_same", L.Conv2D(3, 2, padding="same", activation="elu"), [(3, 6, 9, 2)]
    yield "conv2d_kernel5_same", L.Conv2D(2, 5, padding="same", activation="sigmoid"), [(2, 6, 9, 3)]
    yield "conv2d_kernel5_valid", L.Conv2D(2, 5, activation="softplus"), [(2, 6, 9, 3)]
    yield "conv2d_kernel3x5_same", L.Conv2D(3, (3, 5), padding="same", activation="selu"), [IMAGE]
    yield "conv2d_kernel3x5_valid", L.Conv2D(3, (3, 5), activation="softsign"), [IMAGE]
    yield "conv2d_same_larger_than_input", L.Conv2D(2, 5, padding="same"), [(2, 3, 2, 2)]
    yield "conv2d_stride2_valid", L.Conv2D(4, 3, strides=2, activation="silu"), [(2, 6, 9, 3)]
    yield "conv2d_stride2_same", L.Conv2D(4, 3, strides=2, padding="same", activation="gelu"), [(2, 6, 9, 3)]
    yield "conv2d_stride2_same_odd", L.Conv2D(4, 3, strides=2, padding="same"), [IMAGE]
    yield "conv2d_stride3_valid", L.Conv2D(3, 3, strides=3, activation="mish"), [(2, 7, 10, 2)]
    yield "conv2d_stride3_same", L.Conv2D(3, 3, strides=3, padding="same", activation="relu"), [(2, 7, 10, 2)]
    yield "conv2d_stride3_kernel2", L.Conv2D(3, 2, strides=3, padding="same"), [(2, 7, 10, 2)]
    yield "conv2d_stride2x1_valid", L.Conv2D(3, 3, strides=(2, 1), activation="hard_silu"), [(2, 6, 9, 2)]
    yield "conv2d_stride2x1_same", L.Conv2D(3, 3, strides=(2, 1), padding="same", activation="relu6"), [(2, 6, 9, 2)]
    yield "conv2d_dilation2_valid", L.Conv2D(3, 3, dilation_rate=2, activation="relu"), [(2, 6, 9, 2)]
    yield "conv2d_dilation2_same", L.Conv2D(3, 3, dilation_rate=2, padding="same", activation="tanh"), [(2, 6, 9, 2)]
    yield "conv2d_groups2_same", L.Conv2D(6, 3, groups=2, padding="same", activation="relu"), [(2, 5, 7, 4)]
    yield "conv2d_groups2_stride2", L.Conv2D(4, 3, groups=2, strides=2), [(2, 6, 9, 8)]
    yield "conv2d_no_bias", L.Conv2D(8, 3, use_bias=False, padding="same", activation="leaky_relu"), [(2, 5, 7, 1)]
    yield "conv2d_softmax", L.Conv2D(4, 1, activation="softmax"), [IMAGE]
    yield "conv2d_8_channels", L.Conv2D(8, 3, padding="same", activation="relu"), [(3, 5, 7, 8)]


def depthwise_convolutions():
    yield "depthwise_conv2d_valid", L.DepthwiseConv2D(3, activation="relu"), [IMAGE]
    yield "depthwise_conv2d_same", L.DepthwiseConv2D(3, padding="same", activation="relu6"), [IMAGE]
    yield "depthwise_conv2d_stride2_valid", L.DepthwiseConv2D(3, strides=2, use_bias=False), [(2, 7, 9, 4)]
    yield "depthwise_conv2d_stride2_same", L.DepthwiseConv2D(3, strides=2, padding="same"), [(2, 6, 9, 4)]
    yield "depthwise_conv2d_kernel5x2", L.DepthwiseConv2D((5, 2), padding="same", activation="tanh"), [(2, 6, 9, 3)]
    yield "depthwise_conv2d_dilation2", L.DepthwiseConv2D(3, dilation_rate=2, activation="sigmoid"), [(2, 6, 9, 3)]
    yield "depthwise_conv2d_multiplier2", L.DepthwiseConv2D(3, depth_multiplier=2, activation="relu"), [IMAGE]
    yield "depthwise_conv2d_multiplier3", L.DepthwiseConv2D(3, 2, "same", depth_multiplier=3), [(2, 6, 9, 2)]
    yield "depthwise_conv2d_40_channels", L.DepthwiseConv2D(3, padding="same", activation="relu"), [(1, 4, 5, 40)]
    yield "separable_conv2d_valid", L.SeparableConv2D(5, 3, activation="relu"), [IMAGE]
    yield "separable_conv2d_same", L.SeparableConv2D(4, 3, 2, "same", use_bias=False), [(2, 6, 9, 3)]
    yield "separable_conv2d_multiplier2", L.SeparableConv2D(4, 3, depth_multiplier=2, activation="softmax"), [IMAGE]


def pooling():
    for name, layer in [("max", L.MaxPooling2D), ("average", L.AveragePooling2D)]:
        for padding in ["valid", "same"]:
            for label, size, strides in [
                ("2", 2, None),
                ("3", 3, None),
                ("2x3", (2, 3), None),
                ("3_stride2", 3, 2),
                ("3_stride1", 3, 1),
                ("2_stride3", 2, 3),
                ("2_stride1x2", 2, (1, 2)),
            ]:
                yield f"{name}_pooling2d_{padding}_{label}", layer(size, strides, padding), [(2, 6, 9, 3)]
        yield f"{name}_pooling2d_same_2_odd", layer(2, padding="same"), [IMAGE]
        yield f"{name}_pooling2d_valid_2_odd", layer(2), [IMAGE]
    yield "max_pooling2d_ties", L.MaxPooling2D(2), [(2, 6, 9, 3)]
    yield "max_pooling2d_overlapping_ties", L.MaxPooling2D(3, 2, "same"), [(2, 6, 9, 3)]
    for keepdims in [False, True]:
        suffix = "_keepdims" if keepdims else ""
        yield f"global_average_pooling2d{suffix}", L.GlobalAveragePooling2D(keepdims=keepdims), [IMAGE]
        yield f"global_max_pooling2d{suffix}", L.GlobalMaxPooling2D(keepdims=keepdims), [IMAGE]
    yield "global_max_pooling2d_ties", L.GlobalMaxPooling2D(), [IMAGE]


def dense_and_activations():
    for name in [*ELEMENTWISE, "softmax"]:
        yield f"dense_{name}", L.Dense(5, activation=name), [(3, 7)]
        yield f"activation_{name}", L.Activation(name), [(2, 3, 5, 4)]
    yield "dense_no_bias", L.Dense(4, use_bias=False), [(2, 5)]
    yield "dense_on_images", L.Dense(4, activation="relu"), [(2, 3, 5, 6)]
    yield "dense_one_unit", L.Dense(1, activation="sigmoid"), [(3, 8)]
    yield "relu", L.ReLU(), [IMAGE]
    yield "relu_max_value", L.ReLU(max_value=1.0), [IMAGE]
    yield "relu_negative_slope", L.ReLU(negative_slope=0.2), [IMAGE]
    yield "relu_threshold", L.ReLU(threshold=0.5), [IMAGE]
    yield "relu_max_value_negative_slope", L.ReLU(max_value=1.0, negative_slope=0.1), [IMAGE]
    yield "relu_all", L.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.5), [IMAGE]
    yield "leaky_relu", L.LeakyReLU(), [IMAGE]
    yield "leaky_relu_slope", L.LeakyReLU(negative_slope=0.05), [IMAGE]
    yield "elu", L.ELU(), [IMAGE]
    yield "elu_alpha", L.ELU(alpha=0.3), [IMAGE]
    yield "softmax", L.Softmax(), [(3, 6)]
    yield "softmax_images", L.Softmax(), [IMAGE]
    yield "softmax_axis1", L.Softmax(axis=1), [IMAGE]
    yield "softmax_axis2", L.Softmax(axis=-2), [IMAGE]


def normalizations():
    for label, options, shape in [
        ("", {}, (3, 5, 7, 4)),
        ("_no_center", {"center": False}, (2, 5, 7, 3)),
        ("_no_scale", {"scale": False}, (2, 5, 7, 3)),
        ("_no_center_no_scale", {"center": False, "scale": False}, (2, 5, 7, 3)),
        ("_epsilon", {"epsilon": 0.1}, (2, 5, 7, 3)),
        ("_momentum", {"momentum": 0.6}, (2, 5, 7, 3)),
        ("_2d", {}, (6, 5)),
        ("_2d_options", {"momentum": 0.9, "epsilon": 1e-5, "scale": False}, (5, 4)),
    ]:
        yield f"batch_normalization{label}", L.BatchNormalization(**options), [shape]
        yield f"batch_normalization{label}_training", L.BatchNormalization(**options), [shape]
    scalar = {"mean": 0.4, "variance": 2.25}
    channels = {"mean": [0.5, -1.0, 2.0], "variance": [4.0, 0.25, 1.5]}
    for label, given in [("scalar", {"axis": None, **scalar}), ("channels", channels)]:
        yield f"normalization_{label}", L.Normalization(**given), [IMAGE]
        yield f"normalization_{label}_invert", L.Normalization(**given, invert=True), [IMAGE]
    yield "normalization_zero_variance", L.Normalization(mean=[0.0, 1.0], variance=[0.0, 1.0]), [(3, 2)]
    yield "rescaling", L.Rescaling(1 / 255), [IMAGE]
    yield "rescaling_offset", L.Rescaling(1 / 127.5, offset=-1.0), [IMAGE]


def shapes_and_merging():
    yield "flatten", L.Flatten(), [IMAGE]
    yield "flatten_2d", L.Flatten(), [(2, 5)]
    yield "add_2", L.Add(), [IMAGE] * 2
    yield "add_3", L.Add(), [IMAGE] * 3
    yield "concatenate", L.Concatenate(), [(2, 5, 7, 3), (2, 5, 7, 1), (2, 5, 7, 4)]
    yield "concatenate_axis1", L.Concatenate(axis=1), [(2, 5, 7, 3), (2, 2, 7, 3)]
    yield "concatenate_axis2", L.Concatenate(axis=2), [(2, 5, 7, 3), (2, 5, 4, 3)]
    yield "concatenate_features", L.Concatenate(), [(3, 5), (3, 2)]
    yield "average_2", L.Average(), [IMAGE] * 2
    yield "average_3", L.Average(), [IMAGE] * 3
    yield "subtract", L.Subtract(), [IMAGE] * 2
    yield "multiply_2", L.Multiply(), [IMAGE] * 2
    yield "multiply_3", L.Multiply(), [IMAGE] * 3
    yield "multiply_by_channel", L.Multiply(), [IMAGE, (2, 1, 1, 3)]
    yield "multiply_by_pixel", L.Multiply(), [(2, 5, 7, 1), IMAGE]
    yield "multiply_features", L.Multiply(), [(3, 5), (3, 5)]
    yield "reshape", L.Reshape((7, -1)), [IMAGE]
    yield "reshape_to_image", L.Reshape((1, 1, 6)), [(2, 6)]
    yield "permute", L.Permute((3, 1, 2)), [IMAGE]
    yield "permute_2d", L.Permute((2, 1)), [(2, 3, 5)]
    yield "cropping2d_number", L.Cropping2D(1), [IMAGE]
    yield "cropping2d_sides", L.Cropping2D(((1, 0), (2, 3))), [IMAGE]
    yield "up_sampling2d", L.UpSampling2D(), [IMAGE]
    yield "up_sampling2d_3x2", L.UpSampling2D((3, 2)), [IMAGE]
    yield "up_sampling2d_bilinear", L.UpSampling2D((2, 3), interpolation="bilinear"), [IMAGE]
    yield "zero_padding2d_number", L.ZeroPadding2D(2), [IMAGE]
    yield "zero_padding2d_pair", L.ZeroPadding2D((1, 2)), [IMAGE]
    yield "zero_padding2d_sides", L.ZeroPadding2D(((1, 2), (3, 0))), [IMAGE]
    yield "dropout_inference", L.Dropout(0.5), [IMAGE]
    for interpolation in ["bilinear", "nearest"]:
        for label, size in [("up", (11, 13)), ("down", (3, 4)), ("mixed", (9, 4)), ("double", (10, 14)), ("same", (5, 7))]:
            yield f"resizing_{interpolation}_{label}", L.Resizing(*size, interpolation=interpolation), [IMAGE]
    yield "resizing_bilinear_half", L.Resizing(4, 8), [(2, 8, 16, 3)]


def random_inputs(name, random, shapes):
    inputs = [random.standard_normal(shape).astype("float32") for shape in shapes]
    # Multiples of one half repeat often, so that several pixels of a pooling window hold the maximum.
    return [np.round(x) / 2 for x in inputs] if name.endswith("ties") else inputs


def random_weight(variable, random):
    values = random.standard_normal(variable.shape) * 0.5
    # A variance is positive, and a scale away from zero keeps the gradients informative.
    return np.abs(values) + 0.5 if "variance" in variable.name or "gamma" in variable.name else values


def evaluate(name, layer, shapes):
    """Runs one layer and returns its entry of the index and its arrays."""
    layer.name = name
    random = store.generator(name)
    training = name.endswith("_training")
    inputs = [tf.constant(x) for x in random_inputs(name, random, shapes)]
    argument = inputs if len(inputs) > 1 else inputs[0]
    layer.build(list(shapes) if len(shapes) > 1 else shapes[0])
    if isinstance(getattr(layer, "activation", None), L.Layer):
        layer(argument)  # Keras creates the weights of an activation at the first call
    layer.set_weights([random_weight(w, random) for w in layer.weights])
    if hasattr(layer, "finalize_state"):
        layer.finalize_state()  # Normalization copies its statistics
    weights = layer.get_weights()
    trainable = [w.value for w in layer.trainable_weights]

    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = layer(argument, training=training)
        upstream = random.standard_normal(y.shape).astype("float32")
        objective = tf.reduce_sum(y * upstream)
    input_gradients, weight_gradients = tape.gradient(objective, [inputs, trainable])

    case = store.Case()
    names = {id(w): f"w{i}" for i, w in enumerate(layer.weights)}
    entry = {
        "case": name,
        "layer": store.serialize(layer),
        "inputs": case.put_all("x", inputs),
        "weights": case.put_all("w", [w.astype("float32") for w in weights]),
        "training": training,
        "output": case.put("y", y),
        "upstream": case.put("dy", upstream),
        "input_gradients": case.put_all("dx", input_gradients),
        "weight_gradients": {
            names[id(w)]: case.put(f"d{names[id(w)]}", g)
            for w, g in zip(layer.trainable_weights, weight_gradients)
        },
        "new_weights": {
            f"w{i}": case.put(f"nw{i}", after)
            for i, (before, after) in enumerate(zip(weights, layer.get_weights()))
            if not np.array_equal(before, after)
        },
    }
    return entry, case


def write(directory):
    entries = []
    for cases in [convolutions, depthwise_convolutions, pooling, dense_and_activations, normalizations, shapes_and_merging]:
        for name, layer, shapes in cases():
            entry, case = evaluate(name, layer, shapes)
            store.write_npz(directory / f"{name}.npz", case)
            entries.append(entry)
    store.write_index(directory, entries)
