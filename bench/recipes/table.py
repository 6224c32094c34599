#!/usr/bin/env python3
"""Prints a Markdown table of the results of recipes, and whether ours meets its bars.

    bench/recipes/table.py                              # the rivals and every result of ours
    bench/recipes/table.py --recipes ours-seed1,logistic

Only splits count that every recipe has results of, on every set. Accuracy and log loss are means over these splits; "reported" is the
accuracy that a recipe gives for itself, from the training photos. The calibration error (ECE) is the expected one, over the predictions
of all sets and splits together, in ten bins of equal count. CPU seconds are those of all threads up to the trained model, a mean over
all tasks: other programs that run at the same time change them less than the seconds by the clock. The exit code is 1 if a bar is
missed.
"""

import argparse
import json
import statistics
import sys

import task
from run import RIVALS, SETS

SPLITS = range(5)
BINS = 10

# The bars, for each result of ours. Accuracy in fractions.
MAX_BELOW_BEST = 0.01
MAX_ECE = 0.05
MAX_TIME = 0.1
MAX_BIAS = 0.01
TIMED_RIVAL = "keras-pooled"

Result = dict[str, object]
Results = dict[str, list[Result]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", help="recipes, separated by commas [the rivals and every result of ours]")
    arguments = parser.parse_args()
    recipes = arguments.recipes.split(",") if arguments.recipes else [*RIVALS, *ours()]
    splits = common_splits(recipes)
    if not splits:
        print("no split has results of all of " + ", ".join(recipes), file=sys.stderr)
        return 1
    results = {recipe: load(recipe, splits) for recipe in recipes}
    print(table(results))
    print(f"\nSplits {', '.join(map(str, splits))}.")
    missed = [line for recipe in recipes if recipe.startswith("ours") for line in missed_bars(recipe, results)]
    for line in missed:
        print(line, file=sys.stderr)
    return 1 if missed else 0


def ours() -> list[str]:
    """The names of our results."""
    return sorted(folder.name for folder in task.RESULTS.glob("ours*"))


def common_splits(recipes: list[str]) -> list[int]:
    files = {split: [task.result_of(recipe, name, split) for recipe in recipes for name in SETS] for split in SPLITS}
    return [split for split in SPLITS if all(file.exists() for file in files[split])]


def load(recipe: str, splits: list[int]) -> list[Result]:
    return [json.loads(task.result_of(recipe, name, split).read_text()) for name in SETS for split in splits]


def table(results: Results) -> str:
    head = ["recipe", *(f"{name}, %" for name in SETS), "mean, %", "reported, %", "log loss", "ECE", "CPU seconds", "seconds"]
    lines = [head, ["---"] * len(head)]
    for recipe, found in results.items():
        accuracies = [100 * of_set(found, name, "accuracy") for name in [*SETS, None]]
        figures = [f"{accuracy:.1f}" for accuracy in accuracies]
        reported = [100 * result["reported_accuracy"] for result in found if "reported_accuracy" in result]
        figures.append(f"{statistics.mean(reported):.1f}" if reported else "")
        figures += [f"{of_set(found, None, 'log_loss'):.3f}", f"{calibration_error(found):.3f}"]
        figures += [f"{of_set(found, None, key):.1f}" for key in ("cpu_seconds", "seconds")]
        lines.append([recipe, *figures])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def of_set(found: list[Result], name: str | None, key: str) -> float:
    """The mean of a figure over the splits of a set, or over all sets."""
    return statistics.mean(result[key] for result in found if name in (result["set"], None))


def calibration_error(found: list[Result]) -> float:
    """The mean difference between accuracy and confidence, over bins of predictions with similar confidence."""
    predictions = []
    for result in found:
        for photo, row in result["probabilities"].items():
            correct = result["classes"][row.index(max(row))] == photo.split("/")[0]
            predictions.append((max(row), correct))
    predictions.sort()
    edges = [len(predictions) * bin // BINS for bin in range(BINS + 1)]
    bins = [predictions[low:high] for low, high in zip(edges, edges[1:])]
    return sum(abs(sum(confidence - correct for confidence, correct in bin)) for bin in bins) / len(predictions)


def missed_bars(recipe: str, results: Results) -> list[str]:
    found, rivals = results[recipe], [results[rival] for rival in RIVALS if rival in results]
    missed = []

    def expect(what: str, met: bool, received: float, bar: float) -> None:
        if not met:
            missed.append(f"{recipe}: missed: {what}: received {received:.3f}, the bar is {bar:.3f}")

    for name in SETS:
        received, best = of_set(found, name, "accuracy"), max(of_set(rival, name, "accuracy") for rival in rivals)
        bar = best - MAX_BELOW_BEST
        expect(f"accuracy on {name} at most a point below the best rival", received >= bar - 1e-9, received, bar)
    for what, key, better in [("accuracy", "accuracy", 1), ("log loss", "log_loss", -1)]:
        received, best = of_set(found, None, key), better * max(better * of_set(rival, None, key) for rival in rivals)
        expect(f"mean {what} better than every rival's", better * received > better * best, received, best)
    if all("reported_accuracy" in result for result in found):
        bias = of_set(found, None, "reported_accuracy") - of_set(found, None, "accuracy")
        expect("reported minus held-out accuracy", bias <= MAX_BIAS, bias, MAX_BIAS)
    error = calibration_error(found)
    expect("expected calibration error", error <= MAX_ECE, error, MAX_ECE)
    if TIMED_RIVAL in results:
        received, bar = of_set(found, None, "cpu_seconds"), MAX_TIME * of_set(results[TIMED_RIVAL], None, "cpu_seconds")
        expect(f"CPU seconds at most a tenth of {TIMED_RIVAL}'s", received <= bar, received, bar)
    return missed


if __name__ == "__main__":
    sys.exit(main())
