"""A task: training on one split of a set, and the probabilities of its held-out photos.

A recipe is a script with a function `train(task)`. It calls `run(NAME, train, packages)` of this file, which measures the training,
and writes the result to `results/NAME/SET-SPLIT.json`:

    python logistic.py food5 0
"""

import argparse
import json
import math
import os
import resource
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Callable

BEGAN = time.perf_counter()

ROOT = Path(__file__).resolve().parent.parent.parent
LISTS = Path(__file__).resolve().parent / "sets"
RESULTS = Path(__file__).resolve().parent / "results"
PHOTOS = ROOT / "assets" / "sets"
# Models and folders of tasks that run.
WORK = ROOT / "target" / "bench" / "recipes"
ENGRAFT = Path(os.environ.get("ENGRAFT", ROOT / "target" / "release" / "engraft"))
# Probabilities below this count as this in the log loss.
SMALLEST = 1e-7

Probabilities = list[list[float]]


@dataclass
class Task:
    """A split of a set: photos as CLASS/FILE, relative to `folder`."""

    set: str
    split: int
    seed: int
    classes: list[str]
    training: list[str]
    held_out: list[str]

    @property
    def folder(self) -> Path:
        return PHOTOS / self.set

    def label(self, photo: str) -> int:
        return self.classes.index(photo.split("/")[0])


def load(name: str, split: int, seed: int) -> Task:
    found = json.loads((LISTS / f"{name}.json").read_text())
    photos = sorted(f"{label}/{Path(path).name}" for label, paths in found["photos"].items() for path in paths)
    held_out = found["held_out"][split]
    training = sorted(set(photos) - set(held_out))
    return Task(name, split, seed, list(found["photos"]), training, held_out)


def name_of(recipe: str, seed: str | int | None) -> str:
    """The name of a recipe's results, with the seed if it isn't the split."""
    return recipe if seed is None else f"{recipe}-seed{seed}"


def result_of(recipe: str, name: str, split: int) -> Path:
    return RESULTS / recipe / f"{name}-{split}.json"


def run(recipe: str, train: Callable[[Task], Callable[[], Probabilities]], versions: dict[str, str]) -> None:
    """Runs a recipe on the set and the split that the command line names, and writes its result.

    `train` trains and returns a function that predicts the held-out photos. The time is that of the whole process up to the trained
    model, without the predictions. A recipe that scores itself sets `reported_accuracy` of this function.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("set")
    parser.add_argument("split", type=int)
    parser.add_argument("--seed", type=int, help="random seed [the split]")
    arguments = parser.parse_args()
    seed = arguments.split if arguments.seed is None else arguments.seed
    task = load(arguments.set, arguments.split, seed)
    name = name_of(recipe, arguments.seed)
    WORK.mkdir(parents=True, exist_ok=True)
    predict = train(task)
    seconds, cpu_seconds = time.perf_counter() - BEGAN, cpu_time()
    probabilities = predict()
    labels = [task.label(photo) for photo in task.held_out]
    result = {
        "recipe": name,
        "set": task.set,
        "split": task.split,
        "seed": seed,
        "accuracy": accuracy(probabilities, labels),
        "log_loss": log_loss(probabilities, labels),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "cpu": cpu(),
        "threads": os.cpu_count(),
        "versions": versions,
        "classes": task.classes,
        "probabilities": {photo: [float(f"{p:.7g}") for p in row] for photo, row in zip(task.held_out, probabilities)},
    }
    if hasattr(predict, "reported_accuracy"):
        result["reported_accuracy"] = predict.reported_accuracy
    path = result_of(name, task.set, task.split)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(text_of(result))
    unfinished.rename(path)
    print(f"{name} {task.set} {task.split}: accuracy {result['accuracy']:.3f}, log loss {result['log_loss']:.3f}, {seconds:.1f} s")


def versions_of(*packages: str) -> dict[str, str]:
    """The versions of Python and of installed packages."""
    return {"python": sys.version.split()[0], **{package: version(package) for package in packages}}


def cpu_time() -> float:
    """Seconds of all threads of this process and its children, which the load of other programs changes little."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def accuracy(probabilities: Probabilities, labels: list[int]) -> float:
    return sum(row.index(max(row)) == label for row, label in zip(probabilities, labels)) / len(labels)


def log_loss(probabilities: Probabilities, labels: list[int]) -> float:
    return sum(-math.log(max(row[label], SMALLEST)) for row, label in zip(probabilities, labels)) / len(labels)


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def text_of(result: dict[str, object]) -> str:
    """JSON with one line per photo."""
    rows = ",\n".join(f"  {json.dumps(photo)}: {json.dumps(row)}" for photo, row in result["probabilities"].items())
    head = json.dumps({key: value for key, value in result.items() if key != "probabilities"}, indent=1)
    return f'{head[:-2]},\n "probabilities": {{\n{rows}\n }}\n}}\n'
