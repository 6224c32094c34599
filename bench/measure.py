"""Measures one row: finds each peer's fastest setting, then runs all programs alternately."""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from programs import EngraftBench, Failed, PeerProgram, Program, whole_processes
from rows import Peer, Row, Setting, settings_of
from setup import ROOT, TARGET, fingerprint

# Number of steps for which a setting is tried.
TRIAL_STEPS = 2
# A setting slower than the fastest by this factor is dropped, on this row and on similar rows.
CLEARLY_SLOWER = 1.1
# Seconds before a turn, so that spinning threads of the previous program go to sleep.
PAUSE = 0.3

Found = dict[str, object]
Starters = dict[str, Callable[[], Program]]


def row(row: Row, peers: list[Peer], options: argparse.Namespace) -> Found:
    """Measures a row and returns its entry of the record."""
    found = {"name": row.name, "title": row.title, "batch": row.batch, "programs": {}, "floors": []}
    if row.bf16 and not bf16_supported():
        return {**found, "skipped": "not supported by this CPU"}
    starters = starters_of(row, peers, found["programs"], options)
    take_turns(row, starters, found["programs"], options.rounds)
    found["floors"] = floors(row, [peer.name for peer in peers], found["programs"])
    return found


def starters_of(row: Row, peers: list[Peer], programs: Found, options: argparse.Namespace) -> Starters:
    """A function that starts each program. The chosen settings of the peers are added to `programs`."""
    if row.task == "process":
        starters = whole_processes(photo(options), options)
        return {name: start for name, start in starters.items() if name == "engraft" or name in {p.name for p in peers}}
    starters: Starters = {"engraft": lambda: EngraftBench(row, options)}
    for peer in peers:
        programs[peer.name], setting = best_setting(peer, row, options)
        if setting:
            starters[peer.name] = lambda p=peer, s=setting: PeerProgram(p, s, row, options)
    return starters


def take_turns(row: Row, starters: Starters, programs: Found, rounds: int) -> None:
    """Runs the programs alternately (A B C A B C …), so that a disturbance affects all of them. Fills `programs`."""
    loaded: dict[str, Program] = {}
    try:
        for number in range(rounds):
            for name, start in starters.items():
                entry = programs.setdefault(name, {})
                if "failed" not in entry:
                    turn(row, name, start, loaded, entry)
                    note(f"  round {number + 1}: {name} {outcome(entry)}")
    finally:
        for program in loaded.values():
            program.close()
    for entry in programs.values():
        if "failed" not in entry:
            entry["seconds"] = statistics.median(entry["all"])


def turn(row: Row, name: str, start: Callable[[], Program], loaded: dict[str, Program], entry: Found) -> None:
    """Runs one program's turn. The program stays loaded only while more than half of the memory is available."""
    program = loaded.pop(name, None)
    try:
        program = program or start()
        time.sleep(PAUSE)
        entry.setdefault("all", []).extend(program.run(row.steps_of(name)))
        entry["version"], entry["report"] = program.version, program.report
        entry["peak_bytes"] = max(entry.get("peak_bytes", 0), program.peak_bytes())
    except Failed as failure:
        entry["failed"] = str(failure)
    if program and "failed" not in entry and memory("MemAvailable") > memory("MemTotal") / 2:
        loaded[name] = program
    elif program:
        program.close()


def outcome(entry: Found) -> str:
    return entry.get("failed") or f"{entry['all'][-1]:.3f} s"


def best_setting(peer: Peer, row: Row, options: argparse.Namespace) -> tuple[Found, Setting | None]:
    """Finds the fastest setting of a peer, one program at a time, and caches it for later runs."""
    settings = {setting.name: setting for setting in settings_of(peer, row)}
    if len(settings) == 1:
        (name,) = settings
        return {"setting": name}, settings[name]
    path = TARGET / "settings" / f"{peer.name}.json"
    cached = json.loads(path.read_text()) if path.exists() else {}
    key = f"{row.batch} {options.image_size} {options.threads} {fingerprint(peer.name)}"
    record = cached.get(f"{row.name} {key}")
    if options.try_settings or not record or record["setting"] not in settings:
        likely = close_to_best(cached.get(f"{row.like} {key}"), settings)
        record = try_settings(peer, row, likely, options)
        if "failed" in record:
            return record, None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**cached, f"{row.name} {key}": record}, indent=1))
    return dict(record), settings[record["setting"]]


def close_to_best(record: Found | None, settings: dict[str, Setting]) -> Iterable[Setting]:
    """The settings that were close to the fastest on a similar row; all settings without a similar row."""
    if not record:
        return settings.values()
    tried = record["tried"]
    limit = CLEARLY_SLOWER * min(tried.values())
    return [setting for name, setting in settings.items() if tried.get(name, limit + 1) <= limit]


def try_settings(peer: Peer, row: Row, settings: Iterable[Setting], options: argparse.Namespace) -> Found:
    tried, peaks, failures = {}, {}, {}
    for setting in settings:
        program = None
        try:
            program = PeerProgram(peer, setting, row, options)
            seconds = program.run(1)
            if seconds[0] <= CLEARLY_SLOWER * min(tried.values(), default=seconds[0]):
                seconds += program.run(TRIAL_STEPS - 1)
            tried[setting.name], peaks[setting.name] = min(seconds), program.peak_bytes()
            note(f"  {peer.name}, {setting.name}: {min(seconds):.3f} s")
        except Failed as failure:
            failures[setting.name] = str(failure)
            note(f"  {peer.name}, {setting.name}: {failure}")
        finally:
            if program:
                program.close()
    if not tried:
        return {"failed": next(iter(failures.values()), "nothing to try")}
    best = min(tried, key=tried.get)
    return {"setting": best, "tried": tried, "not_running": failures, "least_peak_bytes": min(peaks.values())}


def floors(row: Row, peers: list[str], programs: Found) -> list[Found]:
    """Each floor of the row with its measured value, or `None` if engraft or the peer wasn't measured."""
    ours, keras = programs["engraft"], programs.get("keras", {})
    found = []
    for name, floor in row.floors.items():
        if name in peers:
            value = ratio(programs[name].get("seconds"), ours.get("seconds"))
            met = value is not None and value >= floor
            found.append({"what": f"speed over {name}", "floor": floor, "value": value, "met": met})
    if row.memory and "keras" in peers:
        # Compared with the setting in which Keras needs the least memory, whatever its speed.
        least = min((keras[key] for key in ("peak_bytes", "least_peak_bytes") if key in keras), default=None)
        value = ratio(ours.get("peak_bytes"), least)
        met = value is not None and value <= row.memory
        found.append({"what": "memory as a share of keras", "floor": row.memory, "value": value, "met": met})
    return found


def ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a and b else None


def photo(options: argparse.Namespace) -> Path:
    """The photo to classify."""
    found = options.photo or next(iter(sorted((ROOT / "assets" / "food5-test").rglob("*.jp*g"))), None)
    if found is None:
        sys.exit("no photo: run `cargo xtask assets` first, or name one with --photo")
    return found


def bf16_supported() -> bool:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    return not flags.isdisjoint({"avx512_bf16", "amx_bf16"})


def memory(name: str) -> int:
    """The value of a field of /proc/meminfo, in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
