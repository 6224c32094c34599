"""How golden values are kept: npz archives and an index, byte for byte the same on every run."""

import contextlib
import datetime
import io
import json
import math
import time
import zipfile
import zlib
from unittest import mock

import numpy as np

# The zip format has no "no date"; this is the earliest one it can hold.
EPOCH = (1980, 1, 1, 0, 0, 0)


class Case(dict):
    """Named arrays of one golden case, narrowed to the two types that the tests read."""

    def put(self, name, array):
        """Keeps `array` as f32 or i64 in C order and returns `name`, for use in the index."""
        array = np.asarray(array)
        kind = np.float32 if array.dtype.kind == "f" else np.int64
        # `ascontiguousarray` turns a scalar into shape [1], which is what the tests expect.
        self[name] = np.ascontiguousarray(array, dtype=kind)
        if not np.all(np.isfinite(self[name])):
            raise ValueError(f"array `{name}`: expected finite numbers, received NaN or infinity")
        return name

    def put_all(self, prefix, arrays):
        return [self.put(f"{prefix}{i}", array) for i, array in enumerate(arrays)]


def write_npz(path, case):
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in case.items():
            npy = io.BytesIO()
            np.lib.format.write_array(npy, array, version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, npy.getvalue(), compresslevel=9)


def write_index(directory, entries):
    """Writes `index.json`, a list with one case a line."""
    names = [entry["case"] for entry in entries]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"case names must be unique; received twice: {', '.join(repeated)}")
    lines = ",\n".join(json.dumps(entry, allow_nan=False) for entry in entries)
    (directory / "index.json").write_text(f"[\n{lines}\n]\n")


def generator(name):
    """A random generator of this case alone, so that adding a case changes no other."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def serialize(keras_object):
    """Keras' own description of a layer, loss, metric or optimizer, without its build shapes."""
    import keras

    description = keras.saving.serialize_keras_object(keras_object)
    description.pop("build_config", None)
    return description


@contextlib.contextmanager
def reproducible_saving():
    """Within, the files that Keras saves hold EPOCH as their date and counted numbers as object ids."""
    from keras.src.saving import saving_lib, serialization_lib

    clock = mock.Mock()
    clock.datetime.now.return_value = datetime.datetime(*EPOCH)
    then = time.struct_time((*EPOCH, 1, 1, 0))
    numbers = {}

    def numbered(thing):
        # Keras writes the memory addresses of shared objects; these look like addresses.
        return numbers.setdefault(id(thing), 140_000_000_000_000 + 16 * len(numbers))

    with (
        mock.patch("time.localtime", return_value=then),
        mock.patch.object(saving_lib, "datetime", clock),
        mock.patch.object(serialization_lib, "id", numbered, create=True),
    ):
        yield


def count(weights):
    """How many numbers the weights hold together: the parameters of a summary."""
    return sum(math.prod(weight.shape) for weight in weights)


def randomize(model, random):
    """Gives every weight a random value, biases and moving statistics too, so that none can be forgotten."""

    def value(weight):
        if weight.name in ["mean", "variance", "count"]:  # what a Normalization learned from data
            return np.asarray(weight)
        fan_in = max(1, math.prod(weight.shape[:-1]))
        values = random.standard_normal(weight.shape) * (fan_in**-0.5 if len(weight.shape) > 1 else 0.2)
        path = getattr(weight, "path", weight.name)  # Keras 2 has no paths
        return np.abs(values) + 0.5 if "variance" in path or "gamma" in path else values

    model.set_weights([value(weight) for weight in model.weights])
