"""`keras.ops` on symbolic tensors, forward and backward: one operation per case, as a functional model serializes it."""

import json

import keras
import numpy as np
import store
import tensorflow as tf
from keras import ops

IMAGE = (2, 4, 6, 3)
TABLE = np.arange(72, dtype="float32").reshape(4, 6, 3) / 36 - 1
MATRICES = np.arange(48, dtype="float32").reshape(4, 3, 4) / 24 - 1
CHANNELS = np.array([0.5, -1.0, 2.0], "float32")


def elementwise():
    for name in [
        "absolute", "negative", "sign", "square", "exp", "expm1", "sin", "cos", "arctan", "sinh", "cosh", "tanh",
        "floor", "ceil", "trunc", "sigmoid", "silu", "relu", "relu6", "softplus", "softsign", "log_sigmoid",
        "leaky_relu", "hard_sigmoid", "hard_silu", "elu", "selu", "gelu", "celu", "hard_tanh", "tanh_shrink",
        "soft_shrink", "hard_shrink", "squareplus", "erf", "exp2", "logical_not", "isfinite", "isnan", "nan_to_num",
    ]:
        yield name, getattr(ops, name), [IMAGE]
    for name in ["sqrt", "rsqrt", "reciprocal", "log", "log1p", "log2", "log10", "tan"]:
        yield f"{name}_positive", getattr(ops, name), [IMAGE]
    yield "gelu_exact", lambda x: ops.gelu(x, approximate=False), [IMAGE]
    yield "clip", lambda x: ops.clip(x, -1, 0.5), [IMAGE]
    yield "round_scaled", ops.round, [IMAGE]
    yield "round_decimals", lambda x: ops.round(x, 1), [IMAGE]
    yield "threshold", lambda x: ops.threshold(x, 0.2, -3.0), [IMAGE]
    yield "glu", lambda x: ops.glu(x, axis=2), [IMAGE]
    yield "cast_int", lambda x: ops.cast(x, "int32"), [IMAGE]
    yield "cast_bool", lambda x: ops.cast(x, "bool"), [IMAGE]
    yield "convert_to_tensor", ops.convert_to_tensor, [IMAGE]
    yield "zeros_like", ops.zeros_like, [IMAGE]
    yield "ones_like", lambda x: ops.ones_like(x, dtype="float32"), [IMAGE]
    yield "full_like", lambda x: ops.full_like(x, 2.5), [IMAGE]
    yield "full_like_channels", lambda x: ops.full_like(x, CHANNELS), [IMAGE]


def operators():
    for name in ["add", "subtract", "multiply", "divide", "true_divide", "maximum", "minimum", "divide_no_nan"]:
        function = getattr(ops, name)
        yield f"{name}_tensors", function, [IMAGE] * 2
        yield f"{name}_stretched", function, [(2, 4, 1, 3), (2, 1, 6, 1)]
        yield f"{name}_number", lambda x, f=function: f(x, 0.75), [IMAGE]
        yield f"{name}_of_number", lambda x, f=function: f(0.75, x), [IMAGE]
        yield f"{name}_channels", lambda x, f=function: f(x, CHANNELS), [IMAGE]
        yield f"{name}_table", lambda x, f=function: f(x, TABLE + 3), [IMAGE]
        yield f"{name}_of_table", lambda x, f=function: f(ops.convert_to_tensor(TABLE[None]), x), [IMAGE]
    for name in ["greater", "greater_equal", "less", "less_equal", "equal", "not_equal"]:
        function = getattr(ops, name)
        yield f"{name}_ties", function, [IMAGE] * 2
        yield f"{name}_number_ties", lambda x, f=function: f(x, 0.5), [IMAGE]
    for name in ["logical_and", "logical_or", "logical_xor"]:
        yield f"{name}_ties", getattr(ops, name), [IMAGE, (2, 1, 6, 3)]
    for exponent in [2, 3, 0.5, -1, -0.5, 1.7]:
        yield f"power_{exponent}_positive", lambda x, e=exponent: x**e, [IMAGE]
    yield "power_tensors_positive", ops.power, [IMAGE, (2, 1, 1, 3)]
    yield "power_of_number", lambda x: 2.0**x, [IMAGE]
    yield "power_square", lambda x: x**2, [IMAGE]
    yield "floor_divide", lambda x: x // 0.75, [IMAGE]
    yield "mod", lambda x: x % 0.75, [IMAGE]
    yield "mod_tensors", ops.mod, [IMAGE, (2, 1, 1, 3)]
    yield "where_number_ties", lambda c, x: ops.where(c, x, -1.0), [IMAGE] * 2
    yield "where_tensors_ties", ops.where, [(2, 4, 6, 1), IMAGE, (2, 1, 1, 3)]
    yield "vectors_table", lambda x: x + np.array([1, 2, 3, 4]), [(3, 4)]
    yield "column_broadcasts", lambda x: x * np.array([1.0, 2.0, 3.0], "float32"), [(2, 4, 1)]


def reductions():
    for name in ["mean", "sum", "max", "min", "prod", "var", "std"]:
        function = getattr(ops, name)
        for label, axis in [("last", -1), ("rows", 1), ("image", (1, 2)), ("row_channel", [1, -1]), ("all", [1, 2, 3])]:
            for keepdims in [False, True]:
                suffix = "_keepdims" if keepdims else ""
                call = lambda x, f=function, a=axis, k=keepdims: f(x, axis=a, keepdims=k)  # noqa: E731
                yield f"{name}_{label}{suffix}", call, [IMAGE]
    for name in ["max", "min"]:
        yield f"{name}_last_ties", lambda x, f=getattr(ops, name): f(x, axis=-1), [IMAGE]
        yield f"{name}_initial", lambda x, f=getattr(ops, name): f(x, axis=-1, initial=0.5), [IMAGE]
    yield "amax", lambda x: ops.amax(x, axis=-1), [IMAGE]
    yield "amin", lambda x: ops.amin(x, axis=(1, 2)), [IMAGE]
    yield "average", lambda x: ops.average(x, axis=-1), [IMAGE]
    yield "logsumexp", lambda x: ops.logsumexp(x, axis=-1), [IMAGE]
    yield "logsumexp_keepdims", lambda x: ops.logsumexp(x, axis=(1, 2), keepdims=True), [IMAGE]
    yield "norm", lambda x: ops.norm(x, axis=-1, keepdims=True), [IMAGE]
    yield "norm_image", lambda x: ops.norm(x, axis=(1, 2)), [IMAGE]
    yield "norm_1", lambda x: ops.norm(x, ord=1, axis=-1), [IMAGE]
    yield "norm_3", lambda x: ops.norm(x, ord=3, axis=1), [IMAGE]
    yield "normalize", ops.normalize, [IMAGE]
    yield "normalize_image", lambda x: ops.normalize(x, axis=[1, 2]), [IMAGE]
    yield "normalize_1", lambda x: ops.normalize(x, axis=-1, order=1), [IMAGE]
    yield "softmax", ops.softmax, [IMAGE]
    yield "softmax_rows", lambda x: ops.softmax(x, axis=1), [IMAGE]
    yield "softmax_image", lambda x: ops.softmax(x, axis=(1, 2)), [IMAGE]
    yield "log_softmax", ops.log_softmax, [IMAGE]
    yield "log_softmax_rows", lambda x: ops.log_softmax(x, axis=1), [IMAGE]


def arrangements():
    yield "reshape", lambda x: ops.reshape(x, (-1, 24, 3)), [IMAGE]
    yield "transpose", lambda x: ops.transpose(x, (0, 3, 1, 2)), [IMAGE]
    yield "moveaxis", lambda x: ops.moveaxis(x, -1, 1), [IMAGE]
    yield "moveaxis_two", lambda x: ops.moveaxis(x, [1, 2], [-1, 1]), [IMAGE]
    yield "swapaxes", lambda x: ops.swapaxes(x, 1, -1), [IMAGE]
    yield "expand_dims", lambda x: ops.expand_dims(x, 1), [IMAGE]
    yield "expand_dims_two", lambda x: ops.expand_dims(x, (1, -1)), [IMAGE]
    yield "squeeze", lambda x: ops.squeeze(x, 2), [(2, 4, 1, 3)]
    yield "squeeze_list", lambda x: ops.squeeze(x, (1, -1)), [(2, 1, 4, 1)]
    yield "concatenate", lambda x, y: ops.concatenate([x, y], axis=1), [IMAGE, (2, 2, 6, 3)]
    yield "hstack", lambda x, y: ops.hstack([x, y]), [IMAGE, (2, 2, 6, 3)]
    yield "append", lambda x, y: ops.append(x, y, axis=-1), [IMAGE, (2, 4, 6, 1)]
    yield "stack", lambda x, y: ops.stack([x, y], axis=2), [IMAGE] * 2
    yield "pad", lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0))), [IMAGE]
    yield "pad_number", lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 1), (1, 0)), constant_values=0.5), [IMAGE]
    yield "pad_reflect", lambda x: ops.pad(x, ((0, 0), (1, 3), (2, 1), (0, 0)), mode="reflect"), [IMAGE]
    yield "pad_symmetric", lambda x: ops.pad(x, ((0, 0), (4, 1), (0, 2), (1, 1)), mode="symmetric"), [IMAGE]
    yield "repeat", lambda x: ops.repeat(x, 2, axis=1), [IMAGE]
    yield "repeat_list", lambda x: ops.repeat(x, [1, 0, 3], axis=-1), [IMAGE]
    yield "tile", lambda x: ops.tile(x, (1, 2, 1, 3)), [IMAGE]
    yield "tile_short", lambda x: ops.tile(x, (2, 1)), [IMAGE]
    yield "flip_channels", lambda x: ops.flip(x, axis=-1), [IMAGE]
    yield "flip_two", lambda x: ops.flip(x, axis=(1, 2)), [IMAGE]
    yield "roll", lambda x: ops.roll(x, -1, axis=1), [IMAGE]
    yield "roll_two", lambda x: ops.roll(x, (1, 8), axis=(1, 2)), [IMAGE]
    yield "take", lambda x: ops.take(x, [2, 0, -1, 2], axis=-1), [IMAGE]
    yield "take_one", lambda x: ops.take(x, 1, axis=2), [IMAGE]
    yield "get_item", lambda x: x[:, 1:3, ..., ::-1], [IMAGE]
    yield "get_item_one", lambda x: x[:, -1, None], [IMAGE]


def products():
    matrix = MATRICES[0]
    yield "matmul_matrix", lambda x: ops.matmul(x, matrix), [IMAGE]
    yield "matmul_matrix_of_rows", lambda x: ops.matmul(x, matrix), [(4, 3)]
    yield "matmul_matrices", lambda x: ops.matmul(x, MATRICES), [IMAGE]
    yield "matmul_of_matrix", lambda x: ops.matmul(TABLE[:, :, 0], x), [IMAGE]
    yield "dot_matrix", lambda x: ops.dot(x, matrix), [IMAGE]
    yield "tensordot_matrix", lambda x: ops.tensordot(x, matrix, axes=1), [IMAGE]


def images():
    for label, arguments in [
        ("", {}),
        ("_strides", {"strides": (2, 3)}),
        ("_same", {"padding": "same"}),
        ("_overlap_same", {"strides": 1, "padding": "same"}),
        ("_dilated", {"strides": 1, "dilation_rate": 2}),
    ]:
        yield f"extract_patches{label}", lambda x, a=arguments: ops.image.extract_patches(x, (2, 3), **a), [(2, 5, 7, 3)]
    yield "average_pool", lambda x: ops.average_pool(x, 2, padding="same"), [(2, 5, 7, 3)]
    yield "max_pool", lambda x: ops.max_pool(x, (2, 3), strides=1), [(2, 5, 7, 3)]
    yield "rgb_to_grayscale", ops.image.rgb_to_grayscale, [IMAGE]
    yield "resize", lambda x: ops.image.resize(x, (7, 9)), [IMAGE]
    yield "crop_images", lambda x: ops.image.crop_images(x, top_cropping=1, left_cropping=2, target_height=2, target_width=3), [IMAGE]
    yield "crop_images_sides", lambda x: ops.image.crop_images(x, 1, 2, bottom_cropping=1, right_cropping=1), [IMAGE]
    yield "pad_images", lambda x: ops.image.pad_images(x, 1, 2, target_height=7, target_width=9), [IMAGE]
    yield "space_to_depth", lambda x: ops.space_to_depth(x, 2), [IMAGE]
    yield "depth_to_space", lambda x: ops.depth_to_space(x, 2), [(2, 2, 3, 8)]


def random_inputs(name, random, shapes):
    inputs = [random.standard_normal(shape).astype("float32") for shape in shapes]
    if name.endswith("positive"):
        inputs = [np.abs(x) % 1.2 + 0.25 for x in inputs]
    if name.endswith(("tensors", "stretched", "of_number", "of_table")) and "divide" in name:
        # Divisors of 0 belong to `divide_no_nan` alone.
        inputs = [np.sign(x) * (np.abs(x) + 0.25) for x in inputs]
    if name == "divide_no_nan_tensors":
        inputs[1] = np.where(inputs[1] > 1, 0, inputs[1])
    if name.startswith("mod_tensors"):
        inputs[1] = np.sign(inputs[1]) * (np.abs(inputs[1]) + 0.5)
    return [np.round(x * 2) / 2 if name.endswith("ties") else x.astype("float32") for x in inputs]


def evaluate(name, function, shapes):
    """Runs one operation and returns its entry of the index and its arrays."""
    random = store.generator(name)
    inputs = [tf.constant(x, "float32") for x in random_inputs(name, random, shapes)]
    symbols = [keras.Input(shape[1:], name=f"x{i}") for i, shape in enumerate(shapes)]
    model = keras.Model(symbols, function(*symbols))
    operations = [layer for layer in json.loads(model.to_json())["config"]["layers"] if layer["class_name"] != "InputLayer"]
    if len(operations) != 1 or len(operations[0]["inbound_nodes"]) != 1:
        raise ValueError(f"case `{name}`: expected one operation, received {operations}")
    operation, node = operations[0], operations[0]["inbound_nodes"][0]

    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = tf.cast(function(*inputs), "float32")
        upstream = random.standard_normal(y.shape).astype("float32")
        objective = tf.reduce_sum(y * upstream)
    gradients = tape.gradient(objective, inputs, unconnected_gradients="zero")

    case = store.Case()
    entry = {
        "case": name,
        "operation": {"module": operation["module"], "class_name": operation["class_name"], "config": operation["config"], **node},
        "inputs": case.put_all("x", inputs),
        "output": case.put("y", y),
        "upstream": case.put("dy", upstream),
        "input_gradients": case.put_all("dx", gradients),
    }
    return entry, case


def write(directory):
    entries = []
    for cases in [elementwise, operators, reductions, arrangements, products, images]:
        for name, function, shapes in cases():
            keras.utils.clear_session()
            entry, case = evaluate(name, function, shapes)
            store.write_npz(directory / f"{name}.npz", case)
            entries.append(entry)
    store.write_index(directory, entries)
