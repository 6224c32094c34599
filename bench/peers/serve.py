"""How the driver and a peer talk: a line each way, on standard input and output.

A peer loads and warms up once, says what it is, and then runs a step whenever it is told `run`, so that the programs which
are compared can take turns without loading again.
"""

import json
import sys
import time
from collections.abc import Callable

CLASSES = 5


def options() -> dict:
    """What to do: task, batch, size of the photos, threads, settings."""
    return json.loads(sys.argv[1])


def serve(step: Callable[[], object], version: str) -> None:
    """Runs `step` once to warm up, then as often as the driver asks, and tells the seconds that each took."""
    step()
    say({"version": version})
    for line in sys.stdin:
        if line.strip() != "run":
            break
        began = time.perf_counter()
        step()
        say({"seconds": time.perf_counter() - began})


def say(message: dict) -> None:
    # The programs compared write to standard output as they please: these lines are told apart by their first sign.
    print("@" + json.dumps(message), flush=True)
