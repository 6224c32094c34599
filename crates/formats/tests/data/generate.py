"""Writes the files that the tests read: `python generate.py`, with Keras 3.15, h5py and onnx.

Hostile files are those of `tests/hostile/data`.
"""

import os
import zipfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
here = os.path.dirname(os.path.abspath(__file__))

import h5py
import keras
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def at(name):
    return os.path.join(here, name)


def small_model():
    """A model whose every weight is known: 0, 1, 2, ... over all weights in order."""
    keras.backend.clear_session()
    model = keras.Sequential(
        [keras.layers.Input((4,)), keras.layers.Dense(3), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    model.compile(keras.optimizers.Adam(0.25), "mse")
    model.optimizer.build(model.trainable_variables)
    start = 0
    weights = []
    for shape in [w.shape for w in model.weights]:
        size = int(np.prod(shape))
        weights.append(np.arange(start, start + size, dtype="f4").reshape(shape))
        start += size
    model.set_weights(weights)
    model.optimizer.iterations.assign(7)
    return model


def keras_files():
    model = small_model()
    model.save(at("small.keras"))
    with zipfile.ZipFile(at("small.keras")) as archive:
        archive.extract("model.weights.h5", here)
    os.replace(at("model.weights.h5"), at("keras3.weights.h5"))
    os.remove(at("small.keras"))
    model.save(at("keras2_whole_model.h5"))


def h5py_types():
    with h5py.File(at("types.h5"), "w") as file:
        values = np.array([[0.5, -2.0, 3.0], [0.25, 0.0, 1024.0]])
        for name in ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"]:
            file[f"floats/{name}"] = values.astype(name)
        for name in ["i1", "<i2", "<i4", "<i8", ">i4", "u1", "<u2", "<u4", "<u8"]:
            file[f"integers/{name}"] = np.array([1, 100], dtype=name)
        file["scalar"] = np.float32(1.5)
        file["empty"] = np.zeros((0, 3), "f4")
        file["text"] = "not a number"
        big = np.arange(3000, dtype="f4").reshape(100, 30)
        file.create_dataset("chunked", data=big, chunks=(16, 16), compression="gzip", shuffle=True)
        file.create_dataset("resizable", data=big[:, :2], chunks=(7, 2), maxshape=(None, 2))
        group = file.create_group("attributes")
        group.attrs["variable"] = "größe"
        group.attrs["fixed"] = np.bytes_("plain")
        group.attrs["list"] = np.array([b"conv2d", b"dense_1"])
        group.attrs.create("variable_list", ["a", "bcd"], dtype=h5py.string_dtype())
        group.attrs["nothing"] = []
        group.attrs["number"] = 3
        group.attrs["names0"] = [b"a", b"b"]
        group.attrs["names1"] = [b"c"]
    with h5py.File(at("latest.h5"), "w", libver="latest") as file:
        file["a/b"] = np.array([1, 2, 3], "f4")
        file["a"].attrs["name"] = "latest"
        for index in range(20):
            file[f"many/{index}"] = np.float32(index)


def onnx_graph(kernel):
    bias = helper.make_tensor("bias", TensorProto.FLOAT, [3], [0.5, -1.0, 2.0])
    shape = numpy_helper.from_array(np.array([-1, 3]), "shape")
    nodes = [
        helper.make_node("Gemm", ["x", "kernel", "bias"], ["y"]),
        helper.make_node("Reshape", ["y", "shape"], ["z"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n]) for name, n in [("x", 2), ("z", 3)]]
    graph = helper.make_graph(nodes, "small", values[:1], values[1:], [kernel, bias, shape])
    return helper.make_model(graph)


def onnx_files():
    kernel = numpy_helper.from_array(np.arange(6, dtype="f4").reshape(2, 3), "kernel")
    model = onnx_graph(kernel)
    onnx.checker.check_model(model)
    onnx.save(model, at("small.onnx"))


if __name__ == "__main__":
    keras_files()
    h5py_types()
    onnx_files()
