"""What limits a row: where engraft's time goes, from what it says about each layer."""


def limits(row: dict[str, object], latency: float | None) -> str | None:
    """In words; `latency` is one prediction with the model loaded, if that was measured."""
    ours = row["programs"].get("engraft", {})
    if "seconds" not in ours:
        return None
    if ours.get("report"):
        return "; ".join(filter(None, [parts_of_step(ours["report"]), bound(row["programs"])]))
    if latency is None:
        return None
    rest = ours["seconds"] - latency
    return f"starting, reading the model and the photo {share(rest, ours['seconds'])}, the prediction itself {latency:.3f} s"


def parts_of_step(report: dict[str, object]) -> str:
    """The parts of the median step, the largest first."""
    step, peak = report["seconds_per_step"], report["peak_gflops"]
    convolutions, dense, others = kinds_of_layers(report)
    updated = "" if report["mode"] == "predict" else " with its updates"
    rate = sum(map(gflop, convolutions)) / max(sum(map(seconds, convolutions)), 1e-9)
    parts = {
        f"convolutions, at {rate:.0f} GFLOP/s as if done directly ({rate / peak:.2f} of the {peak:.0f} measured in f32)": convolutions,
        f"Dense{updated}, bound by memory, at {bandwidth(dense, report):.1f} GB/s of weights": dense,
        "other layers": others,
    }
    times = {name: sum(map(seconds, layers)) for name, layers in parts.items()}
    times["the rest of the step"] = step - sum(times.values())
    named = sorted(times.items(), key=lambda item: -item[1])
    return "; ".join(f"{share(time, step)} {name}" for name, time in named if time > 0.01 * step)


def bound(programs: dict[str, dict[str, object]]) -> str | None:
    """How fast a step could be over the peers, were nothing but the products of F(4x4, 3x3), at the measured peak, and Dense as it
    was: what no better transform or schedule of convolutions would beat. Of f32 alone, as bf16 has peaks of its own."""
    report = programs["engraft"]["report"]
    convolutions, dense, _ = kinds_of_layers(report)
    if report["precision"] != "f32" or not convolutions:
        return None
    # The first has too few channels for the transform.
    products = gflop(convolutions[0]) + sum(map(gflop, convolutions[1:])) / 4
    least = products / report["peak_gflops"] + sum(map(seconds, dense))
    peers = {peer: programs[peer]["seconds"] for peer in ("keras", "torch") if programs.get(peer, {}).get("seconds")}
    ratios = " and ".join(f"{time / least:.2f} times as fast as {peer}" for peer, time in peers.items())
    return f"products at that peak and Dense alone would take {least:.3f} s" + (f" ({ratios})" if ratios else "")


def kinds_of_layers(report: dict[str, object]) -> tuple[list, list, list]:
    """Convolutions, Dense, and the others."""
    convolutions = [layer for layer in report["layers"] if "conv" in layer["name"]]
    dense = [layer for layer in report["layers"] if "dense" in layer["name"] or "predictions" in layer["name"]]
    return convolutions, dense, [layer for layer in report["layers"] if layer not in convolutions and layer not in dense]


def seconds(layer: dict[str, float]) -> float:
    return layer["forward_seconds"] + layer["backward_seconds"]


def gflop(layer: dict[str, float]) -> float:
    return layer["forward_gflop"] + layer["backward_gflop"]


def bandwidth(layers: list[dict[str, float]], report: dict[str, object]) -> float:
    """GB/s of Dense kernels: read forward, read for the data's gradient, and by Adam, three arrays each way."""
    arrays = 1 if report["mode"] == "predict" else 8
    gigabytes = sum(4 * layer["forward_gflop"] / (2 * report["batch"]) * arrays for layer in layers)
    return gigabytes / max(sum(map(seconds, layers)), 1e-9)


def share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %"
