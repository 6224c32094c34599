"""The benchmark's model in OpenVINO."""

import numpy as np
import openvino

from serve import options, serve

OPTIONS = options()


def main() -> None:
    shape = [OPTIONS["batch"], 3, OPTIONS["size"], OPTIONS["size"]]
    core = openvino.Core()
    model = core.read_model(OPTIONS["onnx"])
    model.reshape(shape)
    compiled = core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_NUM_THREADS": OPTIONS["threads"],
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": OPTIONS["settings"]["hint"],
        },
    )
    photos = np.random.default_rng(0).uniform(-128, 128, shape).astype(np.float32)
    request = compiled.create_infer_request()
    serve(lambda: request.infer([photos]), f"OpenVINO {openvino.__version__.split('-')[0]}")


main()
