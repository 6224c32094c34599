"""The bare command, `engraft train PHOTOS -o MODEL`, and `engraft predict`."""

import task  # first: its import starts the clock

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from task import Probabilities, Task


def train(job: Task):
    folder = Path(tempfile.mkdtemp(prefix=f"{job.set}-{job.split}-", dir=task.WORK))
    photos, model = folder / "photos", folder / "model.keras"
    for photo in job.training:
        (photos / photo).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(job.folder / photo, photos / photo)
    command = [task.ENGRAFT, "train", photos, "--output", model, "--seed", str(job.seed), "--json"]
    # An empty cache: photos that an earlier run has seen would be faster.
    environment = {**os.environ, "ENGRAFT_CACHE": str(folder / "cache")}
    report = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout

    def predict() -> Probabilities:
        command = [task.ENGRAFT, "predict", model, *job.held_out, "--json"]
        output = subprocess.run(command, cwd=job.folder, check=True, capture_output=True, text=True).stdout
        found = [json.loads(line)["probabilities"] for line in output.splitlines()]
        shutil.rmtree(folder)
        return [[row[label] for label in job.classes] for row in found]

    predict.reported_accuracy = json.loads(report)["score"]["accuracy"]
    return predict


if __name__ == "__main__":
    version = subprocess.run([task.ENGRAFT, "--version"], check=True, capture_output=True, text=True).stdout
    task.run("ours", train, {"engraft": version.split()[-1]})
