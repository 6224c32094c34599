"""Writes golden values as npz archives with an index, reproducibly: every run gives the same bytes."""

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

# A fixed date, or archives would differ between runs. This is the earliest date of the zip format.
EPOCH = (1980, 1, 1, 0, 0, 0)


class Case(dict):
    """The named arrays of one golden case, as f32 or i64: the two types that the tests read."""

    def put(self, name, array):
        """Adds `array` as f32 or i64 in C order and returns `name`, for use in the index."""
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
    """Writes `index.json`, a list with one case per line."""
    names = [entry["case"] for entry in entries]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"case names must be unique; received twice: {', '.join(repeated)}")
    lines = ",\n".join(json.dumps(entry, allow_nan=False) for entry in entries)
    (directory / "index.json").write_text(f"[\n{lines}\n]\n")


def generator(name):
    """A random generator seeded by the case's name, so that a new case doesn't change the others."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def serialize(keras_object):
    """Keras' serialized form of a layer, loss, metric or optimizer, without its build shapes."""
    import keras

    description = keras.saving.serialize_keras_object(keras_object)
    description.pop("build_config", None)
    return description


@contextlib.contextmanager
def reproducible_saving():
    """Context in which Keras saves reproducible files: the date is EPOCH, and object ids are counted."""
    from keras.src.saving import saving_lib, serialization_lib

    clock = mock.Mock()
    clock.datetime.now.return_value = datetime.datetime(*EPOCH)
    then = time.struct_time((*EPOCH, 1, 1, 0))
    numbers = {}

    def numbered(thing):
        # Keras writes the memory addresses of shared objects. These numbers have the same length.
        return numbers.setdefault(id(thing), 140_000_000_000_000 + 16 * len(numbers))

    with (
        mock.patch("time.localtime", return_value=then),
        mock.patch.object(saving_lib, "datetime", clock),
        mock.patch.object(serialization_lib, "id", numbered, create=True),
    ):
        yield


def count(weights):
    """Total number of parameters, as in a summary."""
    return sum(math.prod(weight.shape) for weight in weights)


def randomize(model, random):
    """Sets every weight to random values, including biases and moving statistics, so that a test notices a missing one."""

    def value(weight):
        if weight.name in ["mean", "variance", "count"]:  # of a Normalization, adapted to data
            return np.asarray(weight)
        fan_in = max(1, math.prod(weight.shape[:-1]))
        values = random.standard_normal(weight.shape) * (fan_in**-0.5 if len(weight.shape) > 1 else 0.2)
        path = getattr(weight, "path", weight.name)  # Keras 2 has no paths
        return np.abs(values) + 0.5 if "variance" in path or "gamma" in path else values

    model.set_weights([value(weight) for weight in model.weights])
