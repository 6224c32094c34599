#!/usr/bin/env python3
"""Runs recipes on the splits of the sets, and writes a result for each; results that exist are kept.

    bench/recipes/run.py                                          # all rivals, about two hours on two cores
    bench/recipes/run.py --recipes ours --seeds 1,2,3             # engraft, with three seeds
    bench/recipes/run.py --recipes logistic --sets food5 --splits 0

It needs the photos of `cargo xtask sets`, the weights of `cargo xtask assets` and a release build of engraft (or a path in the
environment variable ENGRAFT). Split 0 of all sets comes first, so that an interrupted run has results of every set.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import setup  # noqa: E402
import task  # noqa: E402

RIVALS = ["logistic", "keras-pooled", "keras-tutorial"]
SETS = ["food5", "food7", "stamps", "openclipart"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", default=",".join(RIVALS), help=f"recipes, separated by commas [{','.join(RIVALS)}]; also ours")
    parser.add_argument("--sets", default=",".join(SETS), help="sets, separated by commas [all]")
    parser.add_argument("--splits", default="0,1,2,3,4", help="numbers of splits [0,1,2,3,4]")
    parser.add_argument("--seeds", help="random seeds, separated by commas [the number of the split]")
    arguments = parser.parse_args()
    setup.set_up_python("recipes")
    seeds = arguments.seeds.split(",") if arguments.seeds else [None]
    failed = 0
    for split in arguments.splits.split(","):
        for recipe in arguments.recipes.split(","):
            for name in arguments.sets.split(","):
                for seed in seeds:
                    failed += not result_exists(recipe, name, int(split), seed) and run(recipe, name, split, seed)
    return 1 if failed else 0


def result_exists(recipe: str, name: str, split: int, seed: str | None) -> bool:
    return task.result_of(task.name_of(recipe, seed), name, split).exists()


def run(recipe: str, name: str, split: str, seed: str | None) -> bool:
    """Runs one recipe in a process of its own. Returns whether it failed."""
    command = [setup.python_of("recipes"), HERE / f"{recipe.replace('-', '_')}.py", name, split]
    command += ["--seed", seed] if seed is not None else []
    return subprocess.run(command, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}).returncode != 0


if __name__ == "__main__":
    sys.exit(main())
