"""Runs the ONNX files of a folder in onnxruntime and compares the outputs with the expected ones.

`cases.json` is a list of {"model", "tolerance", "runs": [{"inputs", "outputs"}]}; an array is {"file", "shape"}, little-endian f32.
Prints the number of runs of the cases that agree. The exit code is 1 if a case fails.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

folder = Path(sys.argv[1])


def array(described):
    return np.fromfile(folder / described["file"], "<f4").reshape(described["shape"])


def check(case):
    path = str(folder / case["model"])
    onnx.checker.check_model(path, full_check=True)
    opset = onnx.load(path).opset_import[0].version
    assert opset >= 17, f"opset {opset}"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for node in [*session.get_inputs(), *session.get_outputs()]:
        assert node.shape[0] == "batch", f"{node.name}: the batch is not open: {node.shape}"
    for run in case["runs"]:
        inputs = [array(input) for input in run["inputs"]]
        names = [input.name for input in session.get_inputs()]
        assert len(names) == len(inputs), f"inputs {names}"
        outputs = session.run(None, dict(zip(names, inputs)))
        assert len(outputs) == len(run["outputs"]), f"{len(outputs)} outputs"
        for output, described in zip(outputs, run["outputs"]):
            expected = array(described)
            assert output.shape == expected.shape, f"shape {output.shape}, expected {expected.shape}"
            error = np.abs(output - expected).max() / max(1.0, np.abs(expected).max())
            assert error <= case["tolerance"], f"off by {error}"


failed = runs = 0
for case in json.loads((folder / "cases.json").read_text()):
    try:
        check(case)
        runs += len(case["runs"])
    except Exception as error:
        print(f"{case['model']}: {error}", file=sys.stderr)
        failed += 1
print(runs)
sys.exit(failed > 0)
