"""The breakdown of engraft's time in a row, from the layer times that `engraft bench --layers` reports."""


def limits(row: dict[str, object], latency: float | None) -> str | None:
    """The breakdown as text. `latency` is the time of one prediction with the model loaded, if it was measured."""
    ours = row["programs"].get("engraft", {})
    if "seconds" not in ours:
        return None
    if ours.get("report"):
        return "; ".join(filter(None, [parts_of_step(ours["report"]), lower_bound(row["programs"])]))
    if latency is None:
        return None
    rest = ours["seconds"] - latency
    return f"starting, reading the model and the photo {share(rest, ours['seconds'])}, the prediction alone {latency:.3f} s"


def parts_of_step(report: dict[str, object]) -> str:
    """The shares of the layer types in the median step, in descending order."""
    step, peak = report["seconds_per_step"], report["peak_gflops"]
    convolutions, dense, others = kinds_of_layers(report)
    updated = "" if report["mode"] == "predict" else " and its updates"
    rate = sum(map(gflop, convolutions)) / max(sum(map(seconds, convolutions)), 1e-9)
    parts = {
        f"convolutions, at {rate:.0f} GFLOP/s of direct convolution ({rate / peak:.2f} of the f32 peak of {peak:.0f})": convolutions,
        f"Dense{updated}, memory-bound, at {bandwidth(dense, report):.1f} GB/s of weights": dense,
        "other layers": others,
    }
    times = {name: sum(map(seconds, layers)) for name, layers in parts.items()}
    times["the rest of the step"] = step - sum(times.values())
    named = sorted(times.items(), key=lambda item: -item[1])
    return "; ".join(f"{share(time, step)} {name}" for name, time in named if time > 0.01 * step)


def lower_bound(programs: dict[str, dict[str, object]]) -> str | None:
    """A lower bound of the step's time, as text: the multiplications of F(4x4, 3x3) at the measured peak, plus Dense as measured.

    No better transform or schedule of the convolutions is faster. The bound exists for f32 only, as bf16 has another peak.
    """
    report = programs["engraft"]["report"]
    convolutions, dense, _ = kinds_of_layers(report)
    if report["precision"] != "f32" or not convolutions:
        return None
    # F(4x4, 3x3) needs a quarter of the multiplications. The first convolution isn't transformed: it has too few channels.
    products = gflop(convolutions[0]) + sum(map(gflop, convolutions[1:])) / 4
    least = products / report["peak_gflops"] + sum(map(seconds, dense))
    peers = {peer: programs[peer]["seconds"] for peer in ("keras", "torch") if programs.get(peer, {}).get("seconds")}
    ratios = " and ".join(f"{time / least:.2f} times as fast as {peer}" for peer, time in peers.items())
    return f"lower bound (multiplications at that peak, and Dense): {least:.3f} s" + (f" ({ratios})" if ratios else "")


def kinds_of_layers(report: dict[str, object]) -> tuple[list, list, list]:
    """The convolutions, the Dense layers, and all other layers."""
    convolutions = [layer for layer in report["layers"] if "conv" in layer["name"]]
    dense = [layer for layer in report["layers"] if "dense" in layer["name"] or "predictions" in layer["name"]]
    return convolutions, dense, [layer for layer in report["layers"] if layer not in convolutions and layer not in dense]


def seconds(layer: dict[str, float]) -> float:
    return layer["forward_seconds"] + layer["backward_seconds"]


def gflop(layer: dict[str, float]) -> float:
    return layer["forward_gflop"] + layer["backward_gflop"]


def bandwidth(layers: list[dict[str, float]], report: dict[str, object]) -> float:
    """GB/s of Dense kernels. A training step moves 8 arrays: two reads of the kernel (forward and input gradient), and reads and
    writes of the kernel and Adam's two moments."""
    arrays = 1 if report["mode"] == "predict" else 8
    gigabytes = sum(4 * layer["forward_gflop"] / (2 * report["batch"]) * arrays for layer in layers)
    return gigabytes / max(sum(map(seconds, layers)), 1e-9)


def share(part: float, total: float) -> str:
    return f"{100 * part / total:.0f} %"
