"""Cross-entropies: their value and their gradient with respect to the predictions."""

import numpy as np
import tensorflow as tf
from keras import losses

import store

LOGITS = {"probabilities": False, "logits": True}


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def one_hot(labels, classes):
    return np.eye(classes, dtype="float32")[labels]


def categorical():
    for label, from_logits in LOGITS.items():
        for smoothing in [0.0, 0.1]:
            suffix = f"{label}_smoothing" if smoothing else label
            options = {"from_logits": from_logits, "label_smoothing": smoothing}
            random = store.generator(f"categorical_{suffix}")
            scores = random.standard_normal((6, 4)) * 2
            predictions = scores if from_logits else softmax(scores)
            truth = one_hot(random.integers(0, 4, 6), 4)
            yield f"categorical_{suffix}", losses.CategoricalCrossentropy(**options), truth, predictions
    random = store.generator("categorical_edges")
    truth = one_hot(np.array([0, 1, 2, 1]), 3)
    edges = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.3, 0.3, 0.9], [1e-9, 0.5, 0.5]])
    yield "categorical_edges", losses.CategoricalCrossentropy(), truth, edges
    huge = np.array([[90.0, -90.0, 0.0], [120.0, -3.0, 119.0], [-200.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    yield "categorical_huge_logits", losses.CategoricalCrossentropy(from_logits=True), truth, huge
    soft = softmax(random.standard_normal((5, 4))).astype("float32")
    yield "categorical_soft_truth", losses.CategoricalCrossentropy(), soft, softmax(random.standard_normal((5, 4)))


def sparse():
    for label, from_logits in LOGITS.items():
        random = store.generator(f"sparse_{label}")
        scores = random.standard_normal((6, 4)) * 2
        predictions = scores if from_logits else softmax(scores)
        truth = random.integers(0, 4, 6)
        yield f"sparse_{label}", losses.SparseCategoricalCrossentropy(from_logits=from_logits), truth, predictions
    edges = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.3, 0.3, 0.9], [1e-9, 0.5, 0.5]])
    yield "sparse_edges", losses.SparseCategoricalCrossentropy(), np.array([0, 1, 2, 1]), edges


def binary():
    for label, from_logits in LOGITS.items():
        for smoothing in [0.0, 0.2]:
            for units in [1, 3]:
                suffix = f"{label}_{units}{'_smoothing' if smoothing else ''}"
                options = {"from_logits": from_logits, "label_smoothing": smoothing}
                random = store.generator(f"binary_{suffix}")
                scores = random.standard_normal((6, units)) * 2
                predictions = scores if from_logits else 1 / (1 + np.exp(-scores))
                truth = random.integers(0, 2, (6, units)).astype("float32")
                yield f"binary_{suffix}", losses.BinaryCrossentropy(**options), truth, predictions
    truth = np.array([[0.0], [1.0], [0.0], [1.0]])
    yield "binary_edges", losses.BinaryCrossentropy(), truth, np.array([[0.0], [0.0], [1.0], [1.0]])
    huge = np.array([[-150.0], [-90.0], [90.0], [150.0]])
    yield "binary_huge_logits", losses.BinaryCrossentropy(from_logits=True), truth, huge


def evaluate(name, loss, truth, predictions, sample_weight):
    loss.name = name
    case = store.Case()
    entry = {
        "case": name,
        "loss": store.serialize(loss),
        "y_true": case.put("y_true", truth),
        "y_pred": case.put("y_pred", predictions),
        "sample_weight": None if sample_weight is None else case.put("sample_weight", sample_weight),
    }
    given = tf.constant(case["y_pred"])
    with tf.GradientTape() as tape:
        tape.watch(given)
        value = loss(case["y_true"], given, sample_weight=case.get("sample_weight"))
    entry["value"] = case.put("value", value)
    entry["gradient"] = case.put("gradient", tape.gradient(value, given))
    return entry, case


def write(directory):
    entries = []
    for cases in [categorical, sparse, binary]:
        for name, loss, truth, predictions in cases():
            weights = store.generator(f"{name}_weights").uniform(0.2, 3, len(predictions))
            weights[1] = 0.0
            for suffix, sample_weight in [("", None), ("_weighted", weights)]:
                entry, case = evaluate(f"{name}{suffix}", loss, truth, predictions, sample_weight)
                store.write_npz(directory / f"{name}{suffix}.npz", case)
                entries.append(entry)
    store.write_index(directory, entries)
