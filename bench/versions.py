#!/usr/bin/env python3
"""Compares the speed of two builds of engraft, which run alternately.

    bench/versions.py OLD NEW [--pairs 25] [--rows predict,frozen,fine-tune=15,full]

OLD and NEW are paths of the program `engraft`. Prints a Markdown table with the median ratio of the pairs (how many times as fast
NEW is) and its 95 % confidence interval by bootstrap. If the interval contains 1, no difference was found. The machine should be
idle otherwise.
"""

import argparse
import json
import random
import statistics
import subprocess

ROWS = "predict,frozen,fine-tune=15,full"
RESAMPLES = 10_000


def seconds(program, row):
    """The median step of a fresh process, in seconds."""
    command = [program, "bench", "--batch", "16", "--steps", "1", "--json", "--mode", row]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["seconds_per_step"]


def interval(ratios):
    """The 95 % confidence interval of the median, by bootstrap."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return medians[RESAMPLES // 40], medians[-RESAMPLES // 40]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", help="path of the older `engraft`")
    parser.add_argument("new", help="path of the newer `engraft`")
    parser.add_argument("--pairs", type=int, default=25, help="measurements of each program and row [25]")
    parser.add_argument("--rows", default=ROWS, help=f"modes of `engraft bench`, separated by commas [{ROWS}]")
    arguments = parser.parse_args()
    print("| row | pairs | old, s | new, s | old / new | 95 % interval |\n|---|---|---|---|---|---|", flush=True)
    for row in arguments.rows.split(","):
        times = [(seconds(arguments.old, row), seconds(arguments.new, row)) for _ in range(arguments.pairs)]
        ratios = [old / new for old, new in times]
        old, new = (statistics.median(column) for column in zip(*times))
        low, high = interval(ratios)
        middle = statistics.median(ratios)
        print(f"| {row} | {len(times)} | {old:.3f} | {new:.3f} | {middle:.3f} | {low:.3f} to {high:.3f} |", flush=True)


if __name__ == "__main__":
    main()
