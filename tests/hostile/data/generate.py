"""Writes the malicious files that need h5py or onnx: `python generate.py`.

They refer to other files, contain cyclic groups, or declare huge arrays. A test can create the files that they refer to.
"""

import os

import h5py
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

here = os.path.dirname(os.path.abspath(__file__))


def at(name):
    return os.path.join(here, name)


def elsewhere():
    with h5py.File(at("external_link.h5"), "w") as file:
        file["inside"] = np.float32(1)
        file["outside"] = h5py.ExternalLink("secret.h5", "/scalar")
    with h5py.File(at("external_storage.h5"), "w") as file:
        file.create_dataset("outside", (4,), "f4", external=[("secret.bin", 0, 16)])
    with h5py.File(at("virtual_dataset.h5"), "w") as file:
        layout = h5py.VirtualLayout((2, 3), "<f4")
        layout[:] = h5py.VirtualSource("secret.h5", "floats", (2, 3))
        file.create_virtual_dataset("outside", layout)


def bombs():
    with h5py.File(at("shape_bomb.h5"), "w") as file:
        file.create_dataset("unwritten", (1 << 20, 1 << 20), "f4")
        file.create_dataset("overflowing", (1 << 40, 1 << 40), "f4", chunks=(1, 1))
        file.create_dataset("zeros", data=np.zeros((17 << 20,), "f4"), chunks=(1 << 20,), compression="gzip")
        file.create_dataset("one_huge_chunk", (1,), "f4", chunks=(1 << 29,), maxshape=(None,), compression="gzip")
    with h5py.File(at("shared_header.h5"), "w") as file:
        file.create_dataset("layers/0", data=np.float32(1)).attrs["name"] = np.zeros(60000, "u1")
        for index in range(1, 1000):
            file[f"layers/{index}"] = file["layers/0"]
    with h5py.File(at("shape_bomb.weights.h5"), "w") as file:
        file.create_dataset("layers/dense/vars/0", (1 << 20, 1 << 20), "f4")
        file.create_dataset("layers/dense/vars/1", (2,), "f4")
    with h5py.File(at("unwritten.weights.h5"), "w", libver="latest") as file:
        for index in range(8):
            file.create_dataset(f"layers/dense{f'_{index}' if index else ''}/vars/0", (3000, 3000), "f4")
    with h5py.File(at("overflowing_nothing.h5"), "w") as file:
        file.create_dataset("nothing", (1 << 40, 1 << 40, 0), "f4")
    with h5py.File(at("many_small_bombs.h5"), "w") as file:
        for index in range(5):
            file.create_dataset(f"unwritten{index}", (1 << 22,), "f4")
        file.create_dataset("chunked", data=np.zeros((100,), "f4"), chunks=(100,), compression="gzip")


def cycles():
    with h5py.File(at("cycle.h5"), "w") as file:
        group = file.create_group("again")
        group["again"] = file["again"]
    with h5py.File(at("mesh.h5"), "w") as file:
        groups = [file.create_group(str(index)) for index in range(10)]
        for group in groups:
            for index, inner in enumerate(groups):
                group[str(index)] = inner


def external_data():
    kernel = numpy_helper.from_array(np.arange(6, dtype="f4").reshape(2, 3), "kernel")
    location = "../../../../../../../../../../../../tmp/engraft-external-data.bin"
    onnx.external_data_helper.set_external_data(kernel, location)
    kernel.ClearField("raw_data")
    bias = helper.make_tensor("bias", TensorProto.FLOAT, [3], [0.5, -1.0, 2.0])
    node = helper.make_node("Gemm", ["x", "kernel", "bias"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n]) for name, n in [("x", 2), ("y", 3)]]
    graph = helper.make_graph([node], "external", ends[:1], ends[1:], [kernel, bias])
    with open(at("external.onnx"), "wb") as file:
        file.write(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())


if __name__ == "__main__":
    elsewhere()
    bombs()
    cycles()
    external_data()
