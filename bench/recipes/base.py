"""EfficientNet-Lite0 with its ImageNet weights, as a file of Keras."""

import subprocess
from pathlib import Path

import task

# The layer of averages over the last feature map.
FEATURES = "global_average_pooling2d"


def path() -> Path:
    """The file. `engraft train` writes it; its frozen base has the ImageNet weights, and its head isn't used."""
    file = task.WORK / "efficientnet-lite0.keras"
    if not file.exists():
        task.WORK.mkdir(parents=True, exist_ok=True)
        command = [task.ENGRAFT, "train", task.PHOTOS / "stamps", "--backbone", "efficientnet-lite0", "--epochs", "1"]
        subprocess.run([*command, "--output", file], check=True)
    return file
