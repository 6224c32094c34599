"""Layers that merge or repeat tensors, with broadcasting, in the format of `layers`."""

import keras
import store
from cases import layers

L = keras.layers
IMAGE = (2, 5, 7, 3)


def merging():
    for name, layer in [("add", L.Add), ("multiply", L.Multiply), ("average", L.Average), ("maximum", L.Maximum), ("minimum", L.Minimum)]:
        yield f"{name}_same", layer(), [IMAGE] * 3
        yield f"{name}_both_stretched", layer(), [(2, 5, 1, 3), (2, 1, 7, 3)]
        yield f"{name}_vector", layer(), [IMAGE, (2, 3)]
        yield f"{name}_three", layer(), [(2, 1, 1, 3), IMAGE, (2, 5, 7, 1)]
    yield "subtract_stretched", L.Subtract(), [(2, 1, 1, 3), IMAGE]
    yield "maximum_ties", L.Maximum(), [IMAGE] * 2
    yield "minimum_ties", L.Minimum(), [IMAGE] * 2
    yield "dot_vectors", L.Dot(axes=1), [(3, 6)] * 2
    yield "dot_cosine", L.Dot(axes=-1, normalize=True), [(3, 6)] * 2
    yield "dot_matrices", L.Dot(axes=(2, 2)), [(2, 4, 6), (2, 5, 6)]
    yield "dot_matrices_normalized", L.Dot(axes=(1, 2), normalize=True), [(2, 6, 4), (2, 5, 6)]
    yield "dot_matrix_vector", L.Dot(axes=(2, 1)), [(2, 4, 6), (2, 6)]
    yield "dot_feature_maps", L.Dot(axes=(3, 1)), [(2, 2, 3, 4), (2, 4, 5)]
    yield "repeat_vector", L.RepeatVector(4), [(3, 5)]


def write(directory):
    entries = []
    for name, layer, shapes in merging():
        entry, case = layers.evaluate(name, layer, shapes)
        store.write_npz(directory / f"{name}.npz", case)
        entries.append(entry)
    store.write_index(directory, entries)
