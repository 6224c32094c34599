"""Whole-model and weight files of Keras 2 (the package tf-keras), with Keras 2's predictions and losses."""

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tf_keras import layers as L

import store

SHAPE = (12, 12, 3)


def functional():
    """A frozen nested base with BatchNormalization, and a head; trained for some steps."""
    inputs = keras.Input(SHAPE)
    x = L.Conv2D(4, 3, padding="same", use_bias=False, name="block1_conv1")(inputs)
    x = L.ReLU(6.0, name="block1_relu")(L.BatchNormalization(name="block1_bn")(x))
    x = L.DepthwiseConv2D(3, name="block1_depthwise")(x)
    base = keras.Model(inputs, L.MaxPooling2D(name="block1_pool")(x), name="base")
    store.randomize(base, store.generator("keras2_base"))
    base.trainable = False
    inputs = keras.Input(SHAPE)
    x = L.RandomRotation(0.1)(L.RandomFlip("horizontal")(inputs))
    x = base(L.Rescaling(1 / 127.5, offset=-1)(x), training=False)
    x = L.Dropout(0.2)(L.Flatten()(x))
    model = keras.Model(inputs, L.Dense(3, activation="softmax", name="top")(x))
    model.compile(keras.optimizers.Adam(0.01), "categorical_crossentropy", metrics=["accuracy"])
    return model


def sequential():
    """The first layer has the input shape (`input_shape`), in the old style without an Input."""
    layers = [
        L.Conv2D(4, 3, activation="relu", input_shape=SHAPE),
        L.MaxPooling2D(),
        L.Flatten(),
        L.Dense(5, activation="tanh"),
        L.Dense(3, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "categorical_crossentropy", metrics=["accuracy"])
    return model


def residual():
    """A shared layer, a sum and a nested Sequential."""
    inputs = keras.Input(SHAPE)
    x = L.Conv2D(4, 3, padding="same", activation="relu", name="stem")(inputs)
    shared = L.Conv2D(4, 3, padding="same", name="shared")
    x = L.concatenate([L.add([x, shared(x)]), shared(shared(x))])
    head = keras.Sequential([L.GlobalAveragePooling2D(), L.Dense(1, activation="sigmoid", name="top")], name="head")
    model = keras.Model(inputs, head(x))
    model.compile(keras.optimizers.RMSprop(1e-3), "binary_crossentropy", metrics=["accuracy"])
    return model


def packed_attention():
    """Functions of TensorFlow on symbolic tensors: self-attention with one projection for queries, keys and values."""

    def attend(x, parts):
        packed = tf.reshape(L.Dense(24)(L.LayerNormalization()(x)), (-1, 9, 3, 2, 4))
        query, key, value = parts(tf.transpose(packed, [2, 0, 3, 1, 4]))
        weights = tf.nn.softmax(tf.matmul(query, key, transpose_b=True) * 0.5)
        return x + tf.reshape(tf.transpose(tf.matmul(weights, value), [0, 2, 1, 3]), (-1, 9, 8))

    inputs = keras.Input(SHAPE)
    x = L.Reshape((9, 8))(L.Conv2D(8, 4, strides=4)(inputs))
    x = attend(attend(x, lambda packed: [packed[0], packed[1], packed[-1]]), lambda packed: tf.unstack(packed, axis=0))
    model = keras.Model(inputs, L.Dense(3, activation="softmax")(L.GlobalAveragePooling1D()(x)))
    model.compile(keras.optimizers.SGD(0.01), "categorical_crossentropy", metrics=["accuracy"])
    return model


def pixels():
    """Images of uint8, which Keras 2 makes smaller and larger as floats."""
    inputs = keras.Input(SHAPE, dtype="uint8")
    smaller = tf.image.resize(inputs, (7, 9), method="bicubic")
    larger = L.MaxPooling2D(5)(L.UpSampling2D(2, interpolation="bilinear")(255 - inputs))
    resized = L.CenterCrop(8, 8)(L.Resizing(10, 8)(L.ZeroPadding2D(1)(inputs)))
    x = L.Concatenate()([L.Flatten()(part) for part in [smaller, larger, resized]])
    model = keras.Model(inputs, L.Dense(3, activation="softmax")(L.Rescaling(1 / 255)(x)))
    model.compile(keras.optimizers.SGD(0.001), "categorical_crossentropy", metrics=["accuracy"])
    return model


def train(model, x, y, steps):
    return model.fit(x, y, batch_size=3, epochs=steps, shuffle=False, verbose=0).history["loss"]


def write(directory):
    entries = []
    for builder in [functional, sequential, residual, packed_attention, pixels]:
        name = builder.__name__
        keras.backend.clear_session()
        keras.utils.set_random_seed(5)
        model = builder()
        x = store.generator(f"keras2_{name}").integers(0, 256, (3, *SHAPE)).astype("float32")
        x = x if builder in [functional, pixels] else x / 255
        labels = np.eye(3, dtype="float32")[:, : model.output_shape[-1]]
        train(model, x, labels, 2)
        model.save(directory / f"{name}.h5")
        model.save_weights(directory / f"{name}_weights.h5")
        case = store.Case()
        entry = {
            "case": name,
            "file": f"{name}.h5",
            "weights_file": f"{name}_weights.h5",
            "x": case.put("x", x),
            "y": case.put("y", model.predict(x, verbose=0)),
            "labels": case.put("labels", labels),
            # Losses with random layers can't be reproduced by another implementation.
            "losses": None if builder is functional else case.put("losses", train(model, x, labels, 3)),
            "parameters": store.count(model.weights),
            "trainable_parameters": store.count(model.trainable_weights),
        }
        store.write_npz(directory / f"{name}.npz", case)
        entries.append(entry)
    store.write_index(directory, entries)
