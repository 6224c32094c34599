"""Ten training steps of a small VGG from fixed weights on fixed batches, without random layers."""

import keras
import numpy as np
from keras import layers as L
from keras import optimizers as O

import store

STEPS, BATCH, SIZE, CLASSES = 10, 6, 16, 3
# The first trainable layer; all layers before it are frozen.
FREEZE = {"frozen": "flatten", "fine_tuned": "block2_conv1", "all": "input"}


def adam():
    return O.Adam(1e-3)


def sgd():
    return O.SGD(0.01, momentum=0.9)


def cases():
    for freeze in FREEZE:
        yield f"{freeze}_adam", freeze, adam, {}
        yield f"{freeze}_sgd", freeze, sgd, {}
    yield "class_weight_adam", "fine_tuned", adam, {"class_weight": {0: 1.0, 1: 0.25, 2: 3.0}}
    yield "regularized_sgd", "all", sgd, {"regularized": True}
    # SGD, because batch statistics make some gradients zero up to rounding, and Adam would turn them into full steps.
    yield "batch_normalization_trainable", "all", sgd, {"normalized": True}
    yield "batch_normalization_frozen", "all", adam, {"normalized": True, "freeze_normalization": True}


def small_vgg(regularized, normalized):
    penalty = {"kernel_regularizer": keras.regularizers.L2(0.01)} if regularized else {}
    inputs = x = keras.Input((SIZE, SIZE, 3), name="input")
    x = L.Rescaling(1 / 255, name="rescaling")(x)
    for block, filters in [(1, 4), (2, 6)]:
        for conv in [1, 2]:
            name = f"block{block}_conv{conv}"
            x = L.Conv2D(filters, 3, padding="same", activation="relu", name=name, **penalty)(x)
        if normalized:
            x = L.BatchNormalization(name=f"block{block}_bn")(x)
        x = L.MaxPooling2D(name=f"block{block}_pool")(x)
    x = L.Flatten(name="flatten")(x)
    x = L.Dense(16, activation="relu", name="fc1", **penalty)(x)
    outputs = L.Dense(CLASSES, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, outputs, name="small_vgg")


def batches():
    """Images with integer pixel values. Class `i` is brighter in channel `i`."""
    random = store.generator("train")
    labels = random.integers(0, CLASSES, (STEPS, BATCH))
    x = random.uniform(0, 190, (STEPS, BATCH, SIZE, SIZE, 3))
    x += 60 * np.eye(CLASSES)[labels][:, :, None, None, :]
    return np.rint(x).astype("float32"), np.eye(CLASSES, dtype="float32")[labels]


def compiled(freeze, optimizer, regularized=False, normalized=False, freeze_normalization=False):
    keras.utils.clear_session()  # resets automatic names
    model = small_vgg(regularized, normalized)
    store.randomize(model, store.generator("small_vgg"))
    names = [layer.name for layer in model.layers]
    for layer in model.layers[: names.index(FREEZE[freeze])]:
        layer.trainable = False
    for layer in model.layers:
        if freeze_normalization and isinstance(layer, L.BatchNormalization):
            layer.trainable = False
    model.compile(optimizer(), "categorical_crossentropy", metrics=["accuracy"])
    return model


def train(model, x, y, class_weight):
    # `train_on_batch` resets the metrics, so the values are of this step alone.
    logs = [model.train_on_batch(*batch, class_weight=class_weight, return_dict=True) for batch in zip(x, y)]
    return [log["loss"] for log in logs], [log["accuracy"] for log in logs]


def write(directory):
    x, y = batches()
    shared = store.Case()
    shared.put("x", x)
    shared.put("y", y)
    store.write_npz(directory / "batches.npz", shared)
    entries = []
    for name, freeze, optimizer, options in cases():
        class_weight = options.pop("class_weight", None)
        model = compiled(freeze, optimizer, **options)
        with store.reproducible_saving():
            model.save(directory / f"{name}.keras")
        case = store.Case()
        before = case.put("predict_before", model.predict(x[0], verbose=0))
        losses, accuracies = train(model, x, y, class_weight)
        entries.append(
            {
                "case": name,
                "model": f"{name}.keras",
                "batches": "batches.npz",
                "frozen_before": FREEZE[freeze],
                "class_weight": class_weight,
                "losses": case.put("losses", losses),
                "accuracies": case.put("accuracies", accuracies),
                "predict_before": before,
                "predict_after": case.put("predict_after", model.predict(x[0], verbose=0)),
                "weights_after": case.put_all("w", model.get_weights()),
                "weight_paths": [weight.path for weight in model.weights],
            }
        )
        store.write_npz(directory / f"{name}.npz", case)
    store.write_index(directory, entries)
