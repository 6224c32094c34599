"""`fit` with class weights: three epochs with a short last batch and a validation set, for each loss and with penalties on outputs."""

import keras
import numpy as np
from keras import layers as L

import store

SAMPLES, FEATURES, CLASSES = 14, 5, 3
EPOCHS, BATCH = 3, 4
CLASS_WEIGHT = [0.5, 3.0, 1.25]


def cases():
    yield "categorical", "categorical_crossentropy", CLASSES, "softmax"
    yield "sparse", "sparse_categorical_crossentropy", CLASSES, "softmax"
    yield "binary", "binary_crossentropy", 1, "sigmoid"
    yield "penalized", "categorical_crossentropy", CLASSES, "softmax"


def targets(labels, loss, units):
    match loss:
        case "categorical_crossentropy":
            return np.eye(units, dtype="float32")[labels]
        case _:
            return labels[:, None].astype("float32")


def compiled(name, loss, units, activation):
    keras.utils.clear_session()  # resets automatic names
    inputs = keras.Input((FEATURES,), name="input")
    # The penalty is part of the loss that Keras reports, and has no weights.
    hidden = L.Dense(6, "tanh", name="hidden", kernel_regularizer=keras.regularizers.L2(0.01))(inputs)
    if name == "penalized":
        # Penalties on outputs are divided by the size of the batch, also of the last one.
        penalty = keras.regularizers.L1L2(0.02, 0.03)
        hidden = L.Dense(5, "relu", name="penalized", activity_regularizer=penalty)(hidden)
        hidden = L.ActivityRegularization(l2=0.1, name="activity")(L.Dense(4, name="low")(hidden))
    model = keras.Model(inputs, L.Dense(units, activation, name="predictions")(hidden), name="small")
    store.randomize(model, store.generator("fit"))
    model.compile(keras.optimizers.Adam(0.05), loss, metrics=["accuracy"])
    return model


def write(directory):
    entries = []
    for name, loss, units, activation in cases():
        random = store.generator(f"fit {name}")
        labels = random.integers(0, max(units, 2), SAMPLES)
        x = random.normal(size=(SAMPLES, FEATURES)).astype("float32")
        y = targets(labels, loss, units)
        weights = CLASS_WEIGHT[: max(units, 2)]
        model = compiled(name, loss, units, activation)
        with store.reproducible_saving():
            model.save(directory / f"{name}.keras")
        history = model.fit(
            x,
            y,
            batch_size=BATCH,
            epochs=EPOCHS,
            shuffle=False,
            class_weight=dict(enumerate(weights)),
            validation_data=(x[::2], y[::2]),
            validation_batch_size=BATCH,
            verbose=0,
        ).history
        case = store.Case()
        entries.append(
            {
                "case": name,
                "model": f"{name}.keras",
                "x": case.put("x", x),
                "y": case.put("y", y),
                "validation_x": case.put("validation_x", x[::2]),
                "validation_y": case.put("validation_y", y[::2]),
                "epochs": EPOCHS,
                "batch_size": BATCH,
                "class_weight": weights,
                "history": {key: case.put(key, values) for key, values in sorted(history.items())},
                "weights_after": case.put_all("w", model.get_weights()),
            }
        )
        store.write_npz(directory / f"{name}.npz", case)
    store.write_index(directory, entries)
