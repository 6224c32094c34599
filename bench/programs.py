"""Starts the compared programs, runs their steps, and measures time and memory."""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from rows import Peer, Row, Setting
from setup import PEERS, ROOT, TARGET, program_of, python_of, requirements_of

ENGRAFT = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "engraft"


class Failed(Exception):
    """A program exited or reported an error."""


class Program(Protocol):
    """A program that can run steps."""

    version: str
    # The JSON report of `engraft bench`; None for peers.
    report: dict[str, object] | None

    def run(self, steps: int) -> list[float]:
        """Runs steps and returns the seconds of each."""

    def peak_bytes(self) -> int: ...

    def close(self) -> None: ...


def environment(threads: int, extra: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
    """This process' environment, plus the variables in which libraries expect the number of threads."""
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"]
    return {**os.environ, **{name: str(threads) for name in names}, **dict(extra)}


class PeerProgram:
    """A loaded and warmed-up peer, which runs a step for each line `run` on its standard input."""

    report = None

    def __init__(self, peer: Peer, setting: Setting, row: Row, options: argparse.Namespace):
        request = {"task": row.task, "batch": row.batch, "settings": setting.options, "threads": options.threads}
        request["size"] = options.image_size
        if peer.name in ("onnxruntime", "openvino"):
            request["onnx"] = str(onnx_file(options.image_size))
        extra = {**setting.environment, **({"ONEDNN_MAX_CPU_ISA": row.isa.upper()} if row.isa else {})}
        program = [python_of(peer.name), PEERS / peer.script] if peer.script else [program_of(peer.program)]
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [*program, json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment(options.threads, extra.items()),
        )
        # If memory runs out, the kernel kills the peer instead of this process.
        Path(f"/proc/{self.process.pid}/oom_score_adj").write_text("1000")
        try:
            self.version = self.answer()["version"]
        except Failed:
            self.close()
            raise

    def answer(self) -> dict[str, object]:
        """Reads the peer's next message: JSON in a line that starts with `@`."""
        for line in self.process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        code = self.process.wait()
        self.errors.seek(0)
        last = self.errors.read().strip().splitlines()[-1:] or ["no message"]
        raise Failed(f"ended with {code}: {last[0][:300]}")

    def run(self, steps: int) -> list[float]:
        seconds = []
        for _ in range(steps):
            try:
                self.process.stdin.write("run\n")
                self.process.stdin.flush()
            except BrokenPipeError:
                pass  # The peer has exited; `answer` raises the error.
            seconds.append(self.answer()["seconds"])
        return seconds

    def peak_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:"))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()


class EngraftBench:
    """`engraft bench`, started for each turn. It runs its own warm-up steps."""

    def __init__(self, row: Row, options: argparse.Namespace):
        self.command = [ENGRAFT, "bench", "--json", "--layers", "--mode", row.task, "--batch", row.batch]
        self.command += ["--image-size", options.image_size, "--threads", options.threads]
        self.command += ["--precision", "bf16"] if row.bf16 else []
        self.environment = {**os.environ, **({"ENGRAFT_ISA": row.isa} if row.isa else {})}
        self.version, self.report = engraft_version(), None

    def run(self, steps: int) -> list[float]:
        command = [str(part) for part in [*self.command, "--steps", steps]]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment)
        if done.returncode != 0:
            raise Failed(done.stderr.strip()[:300] or f"ended with {done.returncode}")
        self.report = json.loads(done.stdout)
        return self.report["seconds"]

    def peak_bytes(self) -> int:
        return self.report["peak_bytes"]

    def close(self) -> None:
        pass


class WholeProcess:
    """A program whose whole process is measured: it starts, classifies a photo and exits."""

    report = None

    def __init__(self, command: list[object], version: str, threads: int):
        self.command, self.version = [str(part) for part in command], version
        self.environment = environment(threads)
        self.peak = 0
        # Loads the files into the page cache.
        self.run(1)

    def run(self, steps: int) -> list[float]:
        return [self.once() for _ in range(steps)]

    def once(self) -> float:
        with tempfile.TemporaryFile("w+") as output:
            began = time.perf_counter()
            process = subprocess.Popen(self.command, stdout=output, stderr=output, env=self.environment)
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                output.seek(0)
                raise Failed(f"ended with {process.returncode}: {output.read().strip()[-300:]}")
        self.peak = max(self.peak, 1024 * used.ru_maxrss)
        return seconds

    def peak_bytes(self) -> int:
        return self.peak

    def close(self) -> None:
        pass


def engraft_version() -> str:
    return subprocess.run([ENGRAFT, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def keras_version() -> str:
    """Keras' version by its requirements file, because no peer is running that could report it."""
    pinned = dict(line.split("==") for line in requirements_of("keras").read_text().split())
    return f"Keras {pinned['keras']}, TensorFlow {pinned['tensorflow']}"


def onnx_file(size: int) -> Path:
    """The benchmark's model as an ONNX file, written once."""
    path = TARGET / f"seed-{size}.onnx"
    if not path.exists():
        subprocess.run([python_of("onnxruntime"), PEERS / "onnx_file.py", path, str(size)], check=True)
    return path


def keras_file(size: int) -> Path:
    """The benchmark's model as a `.keras` file, written once."""
    path = TARGET / f"seed-{size}.keras"
    if not path.exists():
        subprocess.run([python_of("keras"), PEERS / "keras_predict.py", "--make", path, str(size)], check=True)
    return path


def whole_processes(photo: Path, options: argparse.Namespace) -> dict[str, Callable[[], Program]]:
    """`engraft predict` and the equivalent script in Keras."""
    model, threads = keras_file(options.image_size), options.threads
    ours = [ENGRAFT, "predict", model, photo, "--threads", threads]
    keras = [python_of("keras"), PEERS / "keras_predict.py", model, photo]
    return {
        "engraft": lambda: WholeProcess(ours, engraft_version(), threads),
        "keras": lambda: WholeProcess(keras, keras_version(), threads),
    }
