"""Models whose files store weights in other forms than float32: dtype policies, LoRA, int8; and inputs of open size.

The predictions are those of a float32 model with the weights that the file stores.
"""

import keras
import numpy as np
from keras import layers as L

import store

SHAPE = (8, 8, 3)


def layers(dtype=None, shape=SHAPE):
    return [
        keras.Input(shape),
        L.Rescaling(1 / 255, dtype=dtype),
        L.Conv2D(4, 3, activation="relu", name="conv", dtype=dtype),
        L.BatchNormalization(name="norm", dtype=dtype),
        L.GlobalAveragePooling2D(dtype=dtype),
        L.Dense(5, activation="relu", name="hidden", dtype=dtype),
        L.Dense(3, activation="softmax", name="top", dtype="float32"),
    ]


def sequential(random, dtype=None, shape=SHAPE):
    model = keras.Sequential(layers(dtype, shape))
    store.randomize(model, random)
    return model


def of_policy(name):
    def build(random):
        return sequential(random, name)

    return build


def policy_map(random):
    policies = keras.dtype_policies.DTypePolicyMap(default_policy="bfloat16")
    policies["hidden"] = keras.DTypePolicy("float16")
    return sequential(random, policies)


def lora(random):
    model = sequential(random)
    model.get_layer("hidden").enable_lora(2, lora_alpha=3)
    model.get_layer("conv").enable_lora(2)
    for layer in [model.get_layer("hidden"), model.get_layer("conv")]:
        layer.lora_kernel_b.assign(random.standard_normal(layer.lora_kernel_b.shape) * 0.3)
    return model


def int8(random):
    model = sequential(random)
    model.quantize("int8")
    return model


def attention():
    inputs = keras.Input(SHAPE)
    x = L.Reshape((16, 12))(L.Rescaling(1 / 255)(inputs))
    x = L.MultiHeadAttention(2, 3, dropout=0.1, name="attention")(x, x)
    # Axes of the kernel that are units, in several and in reversed order, two contracted axes, and one that isn't the last.
    x = L.EinsumDense("abc,cde->abde", (16, 2, 3), bias_axes="de", activation="tanh", name="split")(x)
    x = L.EinsumDense("abde,edf->abf", (16, 4), bias_axes="f", name="join")(x)
    x = L.EinsumDense("abc,bd->adc", (5, 4), name="mix")(x)
    x = L.EinsumDense("abc,cde->abed", (5, 2, 3), name="reverse")(x)
    ids = L.Embedding(256, 2, name="brightness")(L.Reshape((192,))(inputs))
    x = L.Concatenate()([L.Flatten()(x), L.GlobalAveragePooling1D()(ids)])
    return keras.Model(inputs, L.Dense(3, activation="softmax", name="top")(x))


def int8_attention(random):
    model = attention()
    store.randomize(model, random)
    model.quantize("int8")
    return model


def open_size(random):
    inputs = keras.Input((None, None, 3), name="photo")
    x = L.Conv2D(4, 3, strides=2, padding="same", activation="relu")(inputs)
    x = L.Concatenate()([x, L.Conv2D(2, 1)(x)])
    x = L.GlobalMaxPooling2D()(x)
    model = keras.Model(inputs, L.Dense(3, activation="softmax")(x))
    store.randomize(model, random)
    return model


def operations(random):
    """Operations, to an `.h5` of which Keras writes no modules: `preprocess_input`, and a hard swish."""
    inputs = keras.Input(SHAPE)
    x = L.Conv2D(4, 3)(keras.applications.vgg16.preprocess_input(inputs) / 64)
    x = L.GlobalAveragePooling2D()(L.Multiply()([x, L.ReLU(6)(x + 3.0) * (1.0 / 6.0)]))
    model = keras.Model(inputs, L.Dense(3, activation="softmax")(x))
    store.randomize(model, random)
    return model


def open_base(random):
    base = keras.Sequential([keras.Input((None, None, 3)), L.Conv2D(4, 3, activation="relu"), L.MaxPooling2D()], name="base")
    inputs = keras.Input(SHAPE)
    x = L.Concatenate()([L.GlobalAveragePooling2D()(base(inputs)), L.GlobalMaxPooling2D()(base(L.Cropping2D(1)(inputs)))])
    model = keras.Model(inputs, L.Dense(3, activation="softmax")(x))
    store.randomize(model, random)
    return model


def kernel(layer):
    """The kernel of a layer in float32, as `save_own_variables` or the quantization defines it."""
    if getattr(layer, "quantization_mode", None) == "int8":
        scale = layer.kernel_scale
        if isinstance(layer, L.EinsumDense):
            scale = layer._adjust_scale_for_dequant(scale)
        return np.asarray(layer._kernel, np.float32) / np.asarray(scale)
    return np.asarray(layer.kernel, np.float32)


def in_float32(model):
    """A float32 model with the weights that the file of `model` stores."""
    plain = keras.Sequential(layers())
    for layer, source in zip(plain.layers, model.layers):
        values = [np.asarray(value).astype(np.float32) for value in source.weights]
        if hasattr(source, "kernel"):
            values = [kernel(source), np.asarray(source.bias).astype(np.float32)]
        layer.set_weights(values)
    return plain


MODELS = {name: of_policy(name) for name in ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64"]}
def attention_in_float32(model):
    plain = attention()
    for layer, source in zip(plain._flatten_layers(), model._flatten_layers()):
        if isinstance(source, L.Embedding):
            layer.set_weights([np.asarray(source._embeddings, np.float32) / np.asarray(source.embeddings_scale)[:, None]])
        elif isinstance(source, (L.Dense, L.EinsumDense)):
            layer.set_weights([kernel(source)] + ([] if source.bias is None else [np.asarray(source.bias)]))
    return plain


MODELS |= {"policy_map": policy_map, "lora": lora, "int8": int8}
OPEN = {"open_size": open_size, "open_base": open_base, "operations": operations}
ATTENTION = {"int8_attention": int8_attention}


def write(directory):
    entries = []
    for name, build in (MODELS | OPEN | ATTENTION).items():
        random = store.generator(name)
        model = build(random)
        x = random.uniform(0, 255, (3, *SHAPE)).astype("float32")
        in_floats = attention_in_float32 if name in ATTENTION else in_float32
        reference = model if name in OPEN else in_floats(model)
        case = store.Case()
        entry = {"case": name, "x": case.put("x", x), "y": case.put("y", reference.predict(x, verbose=0))}
        with store.reproducible_saving():
            model.save(directory / f"{name}.keras")
            model.save(directory / f"{name}.h5")
        store.write_npz(directory / f"{name}.npz", case)
        entries.append(entry | {"files": [f"{name}.keras", f"{name}.h5"]})
    store.write_index(directory, entries)
