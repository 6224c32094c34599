"""Accuracies over several updates, with tied scores."""

import numpy as np
from keras import metrics

import store

UPDATES = 3


def one_hot(labels, classes):
    return np.eye(classes, dtype="float32")[labels]


def scores(random, classes):
    """Few distinct values, so that several classes often share a score."""
    return (random.integers(0, 7, (8, classes)) / 8).astype("float32")


def multiclass():
    for classes in [3, 7]:
        yield f"categorical_accuracy_{classes}", metrics.CategoricalAccuracy, {}, classes, one_hot
        yield f"sparse_categorical_accuracy_{classes}", metrics.SparseCategoricalAccuracy, {}, classes, None
    for k in [1, 2, 5]:
        yield f"top_{k}_categorical_accuracy", metrics.TopKCategoricalAccuracy, {"k": k}, 7, one_hot
        yield f"sparse_top_{k}_categorical_accuracy", metrics.SparseTopKCategoricalAccuracy, {"k": k}, 7, None
    yield "binary_accuracy", metrics.BinaryAccuracy, {}, 1, None
    yield "binary_accuracy_threshold", metrics.BinaryAccuracy, {"threshold": 0.25}, 1, None


def labels(random, classes, encode):
    if classes == 1:
        return random.integers(0, 2, (8, 1)).astype("float32")
    indices = random.integers(0, classes, 8)
    return encode(indices, classes) if encode else indices


def write(directory):
    entries = []
    for base, metric_class, options, classes, encode in multiclass():
        for suffix in ["", "_weighted"]:
            name = base + suffix
            random = store.generator(name)
            metric = metric_class(name=name, **options)
            case = store.Case()
            updates, results = [], []
            for i in range(UPDATES):
                update = {
                    "y_true": case.put(f"y_true{i}", labels(random, classes, encode)),
                    "y_pred": case.put(f"y_pred{i}", scores(random, classes)),
                    "sample_weight": case.put(f"sample_weight{i}", random.uniform(0, 2, 8)) if suffix else None,
                }
                metric.update_state(*(case.get(key) for key in update.values()))
                updates.append(update)
                results.append(float(metric.result()))
            entries.append(
                {
                    "case": name,
                    "metric": store.serialize(metric),
                    "updates": updates,
                    "results": case.put("results", results),
                }
            )
            store.write_npz(directory / f"{name}.npz", case)
    store.write_index(directory, entries)
