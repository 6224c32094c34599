"""The names of all layer classes that Keras exports, for the table of layers in docs/layers.md."""

import inspect

import keras
from keras.src.api_export import get_name_from_symbol

import store


def write(directory):
    exported = {value for value in vars(keras.layers).values() if inspect.isclass(value)}
    # Some classes have several names: files have that of the API.
    names = sorted(get_name_from_symbol(value).removeprefix("keras.").split(".")[-1] for value in exported)
    store.write_index(directory, [{"case": name} for name in names])
