"""Writes the benchmark's model with random weights as an ONNX file: `onnx_file.py FILE SIZE`."""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serve import CLASSES

BLOCKS = [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)]


class Network:
    """A chain of ONNX nodes."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.nodes, self.weights, self.value = [], [], "photos"

    def add(self, kind: str, *weights: str, **attributes: object) -> None:
        output = f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.value, *weights], [output], **attributes))
        self.value = output

    def weight(self, *shape: int) -> str:
        # He et al. 2015 (arXiv:1502.01852): uniform initialization that keeps the variance of activations.
        bound = (6 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0
        values = self.random.uniform(-bound, bound, shape).astype(np.float32)
        name = f"weight{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name


def network(size: int) -> Network:
    net, channels = Network(), 3
    for convolutions, filters in BLOCKS:
        for _ in range(convolutions):
            kernel, bias = net.weight(filters, channels, 3, 3), net.weight(filters)
            net.add("Conv", kernel, bias, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
            net.add("Relu")
            channels = filters
        net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    net.add("Flatten")
    inputs = channels * (size // 32) ** 2
    for units in [4096, 4096, CLASSES]:
        net.add("Gemm", net.weight(units, inputs), net.weight(units), transB=1)
        net.add("Softmax" if units == CLASSES else "Relu")
        inputs = units
    return net


def main() -> None:
    path, size = sys.argv[1], int(sys.argv[2])
    net = network(size)
    photos = helper.make_tensor_value_info("photos", TensorProto.FLOAT, ["batch", 3, size, size])
    classes = helper.make_tensor_value_info(net.value, TensorProto.FLOAT, ["batch", CLASSES])
    graph = helper.make_graph(net.nodes, "seed", [photos], [classes], net.weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


main()
