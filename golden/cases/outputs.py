"""Models whose last layers make something of probabilities, logits or features."""

import keras
from keras import layers as L
from keras import ops

import store

SHAPE = (4, 4, 3)


def flat(x):
    return L.Flatten()(L.Rescaling(1 / 255)(x))


def head(units, activation=None):
    """The output of a Dense layer on all pixels."""
    return lambda x: L.Dense(units, activation=activation)(flat(x))


def conv(x, activation=None):
    return L.Conv2D(3, 1, activation=activation)(L.Rescaling(1 / 255)(x))


def pixel(x):
    return L.GlobalAveragePooling2D(keepdims=True)(L.Rescaling(1 / 255)(x))


def renormalized(x):
    clipped = ops.clip(head(3, "softmax")(x), 1e-7, 1)
    return clipped / ops.sum(clipped, axis=-1, keepdims=True)


def complement(x):
    p = head(1, "sigmoid")(x)
    return ops.concatenate([1 - p, p], axis=-1)


MODELS = {
    "weighted_softmax": ("probabilities", lambda x: 0.6 * head(3, "softmax")(x) + 0.4 * head(3, "softmax")(x)),
    "average_softmax": ("probabilities", lambda x: L.Average()([head(3, "softmax")(x) for _ in range(3)])),
    "sum_softmax": ("values", lambda x: head(3, "softmax")(x) + head(3, "softmax")(x)),
    "product_softmax": ("features", lambda x: head(3, "softmax")(x) * head(3, "softmax")(x)),
    "one_minus_sigmoid": ("probabilities", lambda x: 1 - head(1, "sigmoid")(x)),
    "complement": ("probabilities", complement),
    "clipped": ("probabilities", lambda x: ops.clip(head(3, "softmax")(x), 1e-7, 1)),
    "renormalized": ("probabilities", renormalized),
    "second_class": ("probabilities", lambda x: head(2, "softmax")(x)[:, 1]),
    "temperature": ("logits", lambda x: head(3)(x) / 2.5),
    "normalized": ("features", lambda x: L.BatchNormalization()(head(3)(x))),
    "einsum": ("logits", lambda x: L.EinsumDense("ab,bc->ac", output_shape=3, bias_axes="c")(flat(x))),
    "leaky": ("values", lambda x: L.LeakyReLU()(head(3)(x))),
    "pooled_logits": ("logits", lambda x: L.GlobalAveragePooling2D()(conv(x))),
    "pooled_softmax": ("probabilities", lambda x: L.GlobalAveragePooling2D()(conv(x, "softmax"))),
    "pooled_features": ("features", lambda x: L.GlobalAveragePooling2D()(conv(x, "relu"))),
    "pixel_softmax": ("probabilities", lambda x: L.Conv2D(3, 1, activation="softmax")(pixel(x))),
    "pixel_logits": ("logits", lambda x: L.Reshape((3,))(L.Conv2D(3, 1)(pixel(x)))),
    "embedding": ("features", lambda x: L.UnitNormalization()(head(8)(x))),
}

COMPILED = {
    "pixel_compiled": ("probabilities", "categorical_crossentropy"),
    "pixel_binary": ("logits", keras.losses.BinaryCrossentropy(from_logits=True)),
}


def write(directory):
    entries = []
    for name, (outputs, last) in MODELS.items():
        entries.append(write_case(directory, name, outputs, last, None))
    for name, (outputs, loss) in COMPILED.items():
        activation = "softmax" if outputs == "probabilities" else None
        last = lambda x, activation=activation: L.Conv2D(3, 1, activation=activation)(pixel(x))
        entries.append(write_case(directory, name, outputs, last, loss))
    store.write_index(directory, entries)
    write_dictionary(directory)


def write_dictionary(directory):
    """A model with a dictionary of outputs, whose keys are neither in order nor the names of layers."""
    keras.utils.clear_session()
    x = keras.Input(SHAPE)
    size = L.Dense(2, name="s")(flat(x))
    model = keras.Model(x, {"size": size, "color": L.Dense(3, activation="softmax", name="c")(flat(x))}, name="dictionary")
    store.randomize(model, store.generator("outputs_dictionary"))
    logits = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(optimizer="sgd", loss={"size": logits, "color": "categorical_crossentropy"})
    with store.reproducible_saving():
        model.save(directory / "dictionary.keras")


def write_case(directory, name, outputs, last, loss):
    random = store.generator(f"outputs_{name}")
    keras.utils.clear_session()
    x = keras.Input(SHAPE)
    model = keras.Model(x, last(x), name=name)
    store.randomize(model, random)
    if loss:
        model.compile(optimizer="sgd", loss=loss)
    with store.reproducible_saving():
        model.save(directory / f"{name}.keras")
    pixels = random.integers(0, 256, (2, *SHAPE)).astype("float32")
    case = store.Case()
    entry = {"case": name, "outputs": outputs, "x": case.put("x", pixels)}
    entry["y"] = case.put("y", model(pixels, training=False).numpy().reshape(2, -1))
    store.write_npz(directory / f"{name}.npz", case)
    return entry
