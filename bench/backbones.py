#!/usr/bin/env python3
"""Trains a classifier with each network of `engraft backbones`, and predicts with it: the seconds and the peak memory.

    bench/backbones.py [PHOTOS] [--only NAME ...]

Training is `engraft train PHOTOS --backbone NAME`, with the recipe that is chosen by cross-validation. PHOTOS is assets/food5
(`cargo xtask assets`) by default, of which it takes the first photos of each class. Predicting is `engraft predict MODEL PHOTO`,
from the start to the end of the process: the median of several runs, with the model file in the page cache. The weights are
random, as time and memory don't depend on them: Keras writes those of its networks, torchvision and efficientnet-lite-pytorch
theirs; `cargo xtask peers` installs them. It builds engraft in release mode. The machine should be idle otherwise.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENGRAFT = ROOT / "target/release/engraft"
PYTHON = ROOT / "target/peers/bin/python"
PHOTOS_PER_CLASS = 8
PREDICTIONS = 7
# What writes random weights to the file that is its argument.
KERAS = """
import sys
from keras import applications
applications.{0}(weights=None, include_top=False, input_shape=({1}, {1}, 3)).save_weights(sys.argv[1])
"""
TORCHVISION = """
import sys, torchvision
from safetensors.torch import save_file
save_file(torchvision.models.{}().state_dict(), sys.argv[1])
"""
LITE = """
import sys
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import save_file
save_file(EfficientNet.from_name("{}").state_dict(), sys.argv[1])
"""


def write_weights(network: dict, folder: Path) -> Path:
    name, keras = network["name"], network["keras"]
    if keras:
        script, path = KERAS.format(keras, network["image_size"]), folder / f"{name}.weights.h5"
    elif "lite" in name:
        script, path = LITE.format(name), folder / f"{name}.safetensors"
    else:
        script, path = TORCHVISION.format(name.removesuffix("-torchvision")), folder / f"{name}.safetensors"
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    subprocess.run([PYTHON, "-c", script, path], check=True, env=quiet, stderr=subprocess.DEVNULL)
    return path


def run(cache: str, *command: object) -> tuple[float, int]:
    """The seconds and the peak resident memory in bytes of a command."""
    start = time.perf_counter()
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen([str(part) for part in command], **streams, text=True, env=os.environ | {"ENGRAFT_CACHE": cache})
    with process:
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}: {errors}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def row(network: dict, photos: Path, folder: Path) -> str:
    """A row of the table. The files go to `folder`."""
    weights, model = write_weights(network, folder), folder / "model.keras"
    cache = str(folder / "cache")
    seconds, peak = run(cache, ENGRAFT, "train", photos, "-o", model, "--backbone", network["name"], "--weights", weights)
    photo = next(path for path in sorted(photos.rglob("*")) if path.is_file())
    predictions = [run(cache, ENGRAFT, "predict", model, photo) for _ in range(PREDICTIONS)]
    second, peak_of_one = (statistics.median(column) for column in zip(*predictions))
    training, predicting, size = (f"{number / 1e6:.0f}" for number in (peak, peak_of_one, model.stat().st_size))
    columns = network["name"], network["image_size"], f"{seconds:.1f}", training, f"{second:.3f}", predicting, size
    return "| " + " | ".join(map(str, columns)) + " |"


def few(photos: Path, folder: Path) -> int:
    """Copies the first photos of each class into `folder`; their number."""
    number = 0
    for of_class in sorted(path for path in photos.iterdir() if path.is_dir()):
        (folder / of_class.name).mkdir()
        for photo in sorted(of_class.iterdir())[:PHOTOS_PER_CLASS]:
            shutil.copy(photo, folder / of_class.name)
            number += 1
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="?", type=Path, default=ROOT / "assets/food5")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    arguments = parser.parse_args()
    subprocess.run(["cargo", "build", "--release", "-p", "engraft-cli"], cwd=ROOT, check=True)
    listed = json.loads(subprocess.check_output([ENGRAFT, "backbones", "--json"]))["backbones"]
    networks = [network for network in listed if not arguments.only or network["name"] in arguments.only]
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as scratch:
        photos = Path(scratch) / "photos"
        photos.mkdir()
        print(f"{few(arguments.photos, photos)} photos\n")
        titles = ["backbone", "pixels", "training, s", "peak, MB", "one photo, s", "peak, MB", "model, MB"]
        print(f"| {' | '.join(titles)} |\n| --- |{' ---: |' * (len(titles) - 1)}")
        for network in networks:
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                print(row(network, photos, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
