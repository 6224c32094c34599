"""The benchmark's model in ONNX Runtime."""

import numpy as np
import onnxruntime

from serve import options, serve

OPTIONS = options()


def main() -> None:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = OPTIONS["threads"]
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(OPTIONS["onnx"], settings, providers=["CPUExecutionProvider"])
    shape = [OPTIONS["batch"], 3, OPTIONS["size"], OPTIONS["size"]]
    photos = np.random.default_rng(0).uniform(-128, 128, shape).astype(np.float32)
    serve(lambda: session.run(None, {"photos": photos}), f"ONNX Runtime {onnxruntime.__version__}")


main()
