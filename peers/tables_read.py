"""tables_read.py CSV PARQUET JSONL: pandas and DuckDB read engraft's tables with their defaults, as its JSON lines say."""

import json
import sys

import duckdb
import numpy as np
import pandas as pd

csv, parquet, lines = sys.argv[1:]
with open(lines, encoding="utf-8", newline="\n") as file:
    answers = [json.loads(line) for line in file]
classes = list(answers[0]["probabilities"])
columns = ["image", "class", "probability", "unknown", "error", *classes]


def row(answer):
    """The cells of an answer; None where a cell is empty."""
    if "error" in answer:
        return [answer["image"], None, None, None, answer["error"], *[None] * len(classes)]
    unknown = answer.get("unknown", False)
    return [answer["image"], answer["class"], answer["probability"], unknown, None, *answer["probabilities"].values()]


def check(name, found):
    """Compares rows cell by cell. Probabilities are 32-bit floats, printed in the fewest digits that tell them apart."""
    expected = [row(answer) for answer in answers]
    assert len(found) == len(expected), f"{name}: {len(found)} rows, expected {len(expected)}"
    for number, (cells, wanted) in enumerate(zip(found, expected)):
        cells = [None if cell is None or cell != cell else cell for cell in cells]
        cells = [float(np.float32(cell)) if isinstance(cell, (float, np.floating)) else cell for cell in cells]
        assert cells == wanted and [type(a) for a in cells] == [type(b) for b in wanted], (name, number, cells, wanted)


frame = pd.read_csv(csv)
assert list(frame.columns) == columns, frame.columns
assert all(frame[name].dtype == np.float64 for name in ["probability", *classes]), frame.dtypes
check("pandas", frame.astype(object).values.tolist())

for path, number in [(csv, "DOUBLE"), (parquet, "FLOAT")]:
    table = duckdb.sql(f"SELECT * FROM '{path}'")
    assert table.columns == columns, table.columns
    types = ["VARCHAR", "VARCHAR", number, "BOOLEAN", "VARCHAR", *[number] * len(classes)]
    assert [str(kind) for kind in table.types] == types, (path, table.types)
    check(path, table.fetchall())
