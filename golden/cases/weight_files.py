"""The ImageNet weight files that the networks of `keras.applications` load: name in Keras' folder, URL and hash."""

from unittest import mock

import keras
from keras.src.utils import file_utils

import store

# Networks with several files: the arguments and image sizes that have one.
VARIANTS = {
    "MobileNet": ([{"alpha": alpha} for alpha in (0.25, 0.5, 0.75, 1.0)], (128, 160, 192, 224)),
    "MobileNetV2": ([{"alpha": alpha} for alpha in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)], (96, 128, 160, 192, 224)),
}
MOBILENET_V3 = ([{}, {"alpha": 0.75}, {"minimalistic": True}], (224,))
VARIANTS |= {"MobileNetV3Small": MOBILENET_V3, "MobileNetV3Large": MOBILENET_V3}


class Requested(Exception):
    """Ends the construction of a network where it asks for its weights."""


def request(fname, origin, cache_subdir, file_hash=None):
    """Stands in for Keras' `get_file`. An argument of another name is an error, so no hash is missed."""
    assert cache_subdir == "models"
    raise Requested({"name": fname, "url": origin, "hash": file_hash})


def weight_file(network, arguments):
    keras.utils.clear_session()
    # Only the request is needed, so weights aren't initialized.
    with mock.patch.object(file_utils, "get_file", request), keras.StatelessScope(initialize_variables=False):
        try:
            network(weights="imagenet", **arguments)
        except Requested as requested:
            return requested.args[0]
    raise ValueError(f"{network.__name__} asks for no weights")


def write(directory):
    entries = []
    for network, function in sorted(vars(keras.applications).items()):
        if not callable(function) or not network[0].isupper():
            continue
        variants, sizes = VARIANTS.get(network, ([{}], (None,)))
        for variant in variants:
            for size in sizes:
                for include_top in (True, False):
                    arguments = {**variant, "include_top": include_top}
                    if size is not None:
                        arguments["input_shape"] = (size, size, 3)
                    options = [f"{key}{value}" for key, value in variant.items()]
                    options += [str(size)] * (len(sizes) > 1) + ["top" if include_top else "notop"]
                    entry = {"case": "_".join([network, *options]).replace(".", ""), "network": network}
                    entry |= {"size": size, "arguments": {**variant, "include_top": include_top}}
                    entries.append(entry | weight_file(function, arguments))
    store.write_index(directory, entries)
