#!/usr/bin/env python3
"""Prints how many photos of other sets a classifier calls "unknown": a table of the set it was trained on and the set it is given.

    bench/recipes/unknown.py

It needs the photos of `cargo xtask sets` and a release build of engraft (or a path in the environment variable ENGRAFT).
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENGRAFT = os.environ.get("ENGRAFT", ROOT / "target/release/engraft")
# The food photos of five and of seven classes overlap.
SETS = ["food5", "stamps", "openclipart"]


def unknown(model: Path, photos: Path) -> tuple[int, int]:
    """The photos that the model calls unknown, and all photos."""
    command = [ENGRAFT, "predict", model, photos, "--recursive", "--json"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return sum("unknown" in json.loads(line) for line in lines), len(lines)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for trained_on in SETS:
            model = Path(folder) / f"{trained_on}.keras"
            subprocess.run([ENGRAFT, "train", ROOT / "assets/sets" / trained_on, "-o", model], check=True, capture_output=True)
            for given in SETS:
                if given != trained_on:
                    found, photos = unknown(model, ROOT / "assets/sets" / given)
                    print(f"trained on {trained_on:12} given {given:12} {found:4} of {photos} unknown ({100 * found / photos:.0f} %)")


if __name__ == "__main__":
    main()
