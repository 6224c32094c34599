"""The names of all layer classes that Keras exports, for the table of layers in docs/layers.md."""

import inspect

import keras

import store


def write(directory):
    exported = [value for _, value in sorted(vars(keras.layers).items()) if inspect.isclass(value)]
    # Some classes have several names: files have the first.
    names = sorted({value.__name__ for value in exported})
    store.write_index(directory, [{"case": name} for name in names])
