"""Writes the results of a run: a JSON file with all data, a Markdown report, and a chart."""

import argparse
import datetime
import json
import os
import platform
import subprocess
from pathlib import Path

import chart
from limits import limits
from rows import PEERS
from setup import ROOT

TITLES = {"engraft": "engraft", **{peer.name: peer.title for peer in PEERS}}
FLAGS = ["avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16"]

Record = dict[str, object]


def machine(options: argparse.Namespace, began: datetime.datetime) -> Record:
    """The start of a record: date, commit, machine and settings."""
    fields = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    flags = fields.get("flags", "").split()
    return {
        "date": began.isoformat(timespec="seconds"),
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        "cpu": fields.get("model name", platform.machine()),
        "cpu_family_model": [fields.get("cpu family"), fields.get("model")],
        "isa": [flag for flag in FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": os.getloadavg()[0],
        "threads": options.threads,
        "rounds": options.rounds,
        "size": options.image_size,
        "rows": [],
    }


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def write(found: Record, folder: Path, began: datetime.datetime) -> list[Path]:
    """Writes the JSON file and the report, named by date, and the chart if the record has all its rows. Returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / began.strftime("%Y-%m-%d-%H%M%S")
    written = {stem.with_suffix(".json"): json.dumps(found, indent=1) + "\n", stem.with_suffix(".md"): table(found)}
    if chart.can_be_drawn(found, TITLES):
        written[folder / "chart.svg"] = chart.svg(found, TITLES)
    for path, text in written.items():
        path.write_text(text)
    return list(written)


def all_met(found: Record) -> bool:
    """Whether every floor was reached. Skipped rows have none."""
    return all(floor["met"] for row in found["rows"] for floor in row["floors"])


def table(found: Record) -> str:
    """The report in Markdown."""
    lines = [
        f"# {found['date']}",
        "",
        f"{found['cpu']} (family {' model '.join(map(str, found['cpu_family_model']))}), {found['cores']} cores, "
        f"{', '.join(found['isa'])}, {found['memory_bytes'] / 2**30:.0f} GiB; {found['system']}; "
        f"{found['threads']} threads, {found['size']} x {found['size']} pixels, {found['rounds']} rounds; "
        f"load before the run {found['load_before']:.1f}.",
        f"engraft at {found['commit'][:12]}{', with uncommitted changes' if found['changed'] else ''}. "
        "Seconds are medians; memory is the peak of the process.",
        "",
        "| row | floor | reached | |",
        "|---|---|---|---|",
    ]
    for row in found["rows"]:
        lines += floors_of(row)
    lines += [
        "",
        "| row | batch | program | seconds | lowest to highest | peak memory | engraft is faster by | setting |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        lines += programs_of(row)
    lines += ["", *bf16_beside_f32(found), "Breakdown of engraft's time:", "", *limits_of(found), "", versions(found)]
    return "\n".join(lines) + "\n"


def programs_of(row: Record) -> list[str]:
    if "skipped" in row:
        return [f"| {row['title']} | {row['batch']} | | {row['skipped']} | | | | |"]
    ours = row["programs"].get("engraft", {}).get("seconds")
    lines = []
    for name, program in row["programs"].items():
        cells = [row["title"], str(row["batch"]), TITLES[name]]
        if "seconds" in program:
            ratio = f"{program['seconds'] / ours:.2f}" if ours and name != "engraft" else ""
            spread = f"{min(program['all']):.3f} to {max(program['all']):.3f}"
            memory = f"{program['peak_bytes'] / 2**30:.2f} GiB"
            cells += [f"{program['seconds']:.3f}", spread, memory, ratio, program.get("setting", "")]
        else:
            cells += [program.get("failed", "not measured").replace("|", "/"), "", "", "", program.get("setting", "")]
        lines.append(f"| {' | '.join(cells)} |")
    return sorted(lines, key=lambda line: "| engraft |" not in line)


def floors_of(row: Record) -> list[str]:
    if "skipped" in row:
        return [f"| {row['title']} | | {row['skipped']} | |"]
    lines = []
    for floor in row["floors"]:
        value = "not measured" if floor["value"] is None else f"{floor['value']:.2f}"
        bound = "at most" if "memory" in floor["what"] else "at least"
        met = "met" if floor["met"] else "**not met**"
        lines.append(f"| {row['title']}, {floor['what']} | {bound} {floor['floor']} | {value} | {met} |")
    return lines


def bf16_beside_f32(found: Record) -> list[str]:
    """The speed of engraft in bf16 relative to Keras in f32. (The floor compares with Keras' fastest setting, bf16 or f32.)"""
    programs = {row["name"]: row["programs"] for row in found["rows"] if "programs" in row}
    ours = programs.get("bf16", {}).get("engraft", {}).get("seconds")
    keras = programs.get("frozen", {}).get("keras", {}).get("seconds")
    return [f"In bf16, engraft's step is {keras / ours:.2f} times as fast as Keras' in f32.", ""] if ours and keras else []


def limits_of(found: Record) -> list[str]:
    latency = [row["programs"].get("engraft", {}).get("seconds") for row in found["rows"] if row["name"] == "latency"]
    texts = {row["title"]: limits(row, next(iter(latency), None)) for row in found["rows"]}
    return [f"- {title}: {text}." for title, text in texts.items() if text]


def versions(found: Record) -> str:
    """The versions of all programs."""
    programs = (program for row in found["rows"] for program in row["programs"].values())
    return f"Versions: {'; '.join(sorted({program['version'] for program in programs if 'version' in program}))}."
