#!/usr/bin/env python3
"""Compares predicting a folder of photos with its parts: the network's share in batches of 16, and decoding alone.

    bench/predict_folder.py [PHOTOS]

Prints the medians of several rounds in which all take turns, and the peak memory for this folder and for one of 10,000 links to its
photos. PHOTOS is assets/sets/food5 (`cargo xtask sets`) by default; the weights of VGG16 are those of `cargo xtask assets`. It needs a release build of engraft and of the example `decode`
of the crate engraft-data, which it builds. The machine should be idle otherwise.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENGRAFT = ROOT / "target/release/engraft"
DECODE = ROOT / "target/release/examples/decode"
NETWORK = ["--backbone", "vgg16", "--image-size", "128"]
WEIGHTS = ROOT / "assets/keras/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
SIZE = "128"
ROUNDS = 5
MANY = 10_000


def build() -> None:
    subprocess.run(["cargo", "build", "--release", "-p", "engraft-cli"], cwd=ROOT, check=True)
    subprocess.run(["cargo", "build", "--release", "-p", "engraft-data", "--example", "decode"], cwd=ROOT, check=True)


def run(*command: object) -> tuple[float, int, str]:
    """The seconds, the peak resident memory in bytes and the output of a command."""
    start = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peak, output = 0, ""
    with process:
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = usage.ru_maxrss * 1024
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        sys.exit(f"{command} ended with {process.returncode}")
    return seconds, peak, output


def predict(model: Path, *photos: Path) -> tuple[float, int]:
    with tempfile.TemporaryDirectory() as folder:
        seconds, peak, _ = run(ENGRAFT, "predict", model, *photos, "--recursive", "--csv", "-o", Path(folder) / "answers.csv")
    return seconds, peak


def share() -> float:
    """Seconds of a photo in a batch of 16."""
    _, _, output = run(ENGRAFT, "bench", *NETWORK, "--head", "none", "--mode", "predict", "--batch", "16", "--json")
    return json.loads(output)["seconds_per_step"] / 16


def decoding(photos: Path) -> float:
    return float(run(DECODE, photos, SIZE)[2])


def linked(photos: list[Path], folder: Path) -> None:
    for number in range(MANY):
        photo = photos[number % len(photos)]
        os.symlink(photo, folder / f"{number:05}{photo.suffix}")


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "assets/sets/food5").resolve()
    build()
    photos = sorted(path.resolve() for path in folder.rglob("*") if path.is_file())
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as scratch:
        model, many = Path(scratch) / "model.keras", Path(scratch) / "many"
        train = [ENGRAFT, "train", folder, "-o", model, *NETWORK, "--weights", WEIGHTS, "--budget", "0"]
        subprocess.run(train, check=True, stdout=subprocess.DEVNULL)
        rounds = []
        for _ in range(ROUNDS):
            whole, peak = predict(model, folder)
            one, _ = predict(model, photos[0])
            rounds.append((whole, one, share() * (len(photos) - 1), decoding(folder), peak))
        whole, one, network, decode, peak = (statistics.median(column) for column in zip(*rounds))
        ratio = statistics.median((whole - one) / max(network, decode) for whole, one, network, decode, _ in rounds)
        print(f"{len(photos)} photos: {whole:.2f} s; of one photo, with loading: {one:.2f} s")
        print(f"network, in batches of 16: {network:.2f} s; decoding: {decode:.2f} s")
        print(f"predicting without loading is {ratio:.2f} times the longer of both")
        many.mkdir()
        linked(photos, many)
        print(f"peak memory: {peak / 1e6:.0f} MB for {len(photos)} photos, {predict(model, many)[1] / 1e6:.0f} MB for {MANY}")


if __name__ == "__main__":
    main()
