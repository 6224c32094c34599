#!/usr/bin/env python3
"""Compares two builds of engraft: OLD and NEW take turns at each row, pair by pair.

    bench/versions.py OLD NEW [--pairs 25] [--rows predict,frozen,fine-tune=15,full]

Prints a Markdown table: the median of the pairs' ratios (how many times as fast NEW is), and an interval of 95 % of that median, by
resampling the pairs. A ratio of 1 within the interval is no difference; nothing else may be busy.
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
    """The interval of 95 % of the median, by resampling."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return medians[RESAMPLES // 40], medians[-RESAMPLES // 40]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--rows", default=ROWS)
    arguments = parser.parse_args()
    print("| row | pairs | old, s | new, s | new is faster by | 95 % of the median |\n|---|---|---|---|---|---|", flush=True)
    for row in arguments.rows.split(","):
        times = [(seconds(arguments.old, row), seconds(arguments.new, row)) for _ in range(arguments.pairs)]
        ratios = [old / new for old, new in times]
        old, new = (statistics.median(column) for column in zip(*times))
        low, high = interval(ratios)
        middle = statistics.median(ratios)
        print(f"| {row} | {len(times)} | {old:.3f} | {new:.3f} | {middle:.3f} | {low:.3f} to {high:.3f} |", flush=True)


if __name__ == "__main__":
    main()
