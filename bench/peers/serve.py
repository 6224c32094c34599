"""The protocol between the benchmark driver and a peer, in lines on standard input and output.

A peer loads its model, warms up and sends its version. For each line `run` it runs a step and sends the seconds. So programs can
run alternately without loading again.
"""

import json
import sys
import time
from collections.abc import Callable

CLASSES = 5


def options() -> dict:
    """The request of the driver: task, batch size, image size, threads, settings."""
    return json.loads(sys.argv[1])


def serve(step: Callable[[], object], version: str) -> None:
    """Runs `step` once to warm up, then once for each `run` of the driver, and sends the seconds of each step."""
    step()
    send({"version": version})
    for line in sys.stdin:
        if line.strip() != "run":
            break
        began = time.perf_counter()
        step()
        send({"seconds": time.perf_counter() - began})


def send(message: dict) -> None:
    # Libraries may print to standard output, too. The first character marks the lines of this protocol.
    print("@" + json.dumps(message), flush=True)
