"""Brings the peers, each at pinned versions and in an environment of its own under `target/bench`."""

import hashlib
import re
import subprocess
import sys
import venv
from pathlib import Path

from rows import Peer

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "bench" / "peers"
PLACE = ROOT / "target" / "bench"
RUST = PLACE / "rust"


def python_of(name: str) -> Path:
    """The Python that has this peer."""
    return PLACE / "env" / name / "bin" / "python"


def program_of(name: str) -> Path:
    """A peer written in Rust."""
    return RUST / "release" / name


def requirements_of(name: str) -> Path:
    """What the environment of a peer holds, or the lock file of those written in Rust."""
    listed = PEERS / f"{name}.txt"
    return listed if listed.exists() else PEERS / "rust" / "Cargo.lock"


def fingerprint(name: str) -> str:
    """Changes with the versions of a peer."""
    return hashlib.sha256(requirements_of(name).read_bytes()).hexdigest()


def set_up(peers: list[Peer]) -> None:
    """Sets up these peers; what is there already is left as it is."""
    for peer in peers:
        if peer.script:
            set_up_python(peer.name)
    if any(peer.program for peer in peers):
        command = ["cargo", "build", "--release", "--locked", "--manifest-path", PEERS / "rust" / "Cargo.toml"]
        for peer in peers:
            command += ["-p", peer.program] if peer.program else []
        subprocess.run([*command, "--target-dir", RUST], check=True)


def set_up_python(name: str) -> None:
    """An environment that holds exactly what `peers/NAME.txt` lists."""
    stamp = PLACE / "env" / name / "complete"
    if stamp.exists() and stamp.read_text() == fingerprint(name):
        return
    print(f"setting up {name}", file=sys.stderr)
    venv.create(PLACE / "env" / name, with_pip=True, clear=True)
    # The lists are complete. PyTorch's own would bring gigabytes for GPUs.
    command = [python_of(name), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "-r", requirements_of(name)], check=True)
    if name == "torch":
        (library,) = (PLACE / "env" / name).glob("lib/python*/site-packages/torch/lib")
        stand_in_for_gpu_libraries(library)
    stamp.write_text(fingerprint(name))


def stand_in_for_gpu_libraries(folder: Path) -> None:
    """Libraries for the ones of a GPU that PyTorch is linked to but never calls on a CPU: every function says 100, which is
    CUDA's "no device"."""
    needed, places, functions = set(), {}, {}
    for file in folder.glob("lib*.so"):
        needed |= set(re.findall(r"NEEDED.*\[(.+)\]", tool("readelf", "--dynamic", "--wide", file)))
        place = None
        for library, version in re.findall(r"File: (\S+)|Name: (\S+)", tool("readelf", "--version-info", "--wide", file)):
            place = library or place
            if version:
                places[version] = place
        for function, version in re.findall(r" [Uw] (\w+)(?:@(\S+))?\n", tool("nm", "--dynamic", file)):
            functions.setdefault(version, set()).add(function)
    plain = {name for name in functions.get("", ()) if re.match("cu[A-Z]|cu[a-z]+Lt|nccl|nvshmem", name)}
    for library in needed:
        if re.match("lib(cu|nccl|nv)", library) and not (folder / library).exists():
            versions = {version: functions.get(version, set()) for version, at in places.items() if at == library}
            build_stand_in(folder, library, versions or {"": plain})


def build_stand_in(folder: Path, library: str, versions: dict[str, set[str]]) -> None:
    """A shared library with these functions under these symbol versions."""
    source = "".join(f"int {name}(void) {{ return 100; }}\n" for names in versions.values() for name in sorted(names))
    command = ["gcc", "-w", "-shared", "-fPIC", "-x", "c", "-", f"-Wl,-soname,{library}", "-o", folder / library]
    if "" not in versions:
        script = folder / f"{library}.map"
        nodes = (f"{version} {{ {' '.join(f'{name};' for name in sorted(names))} }};\n" for version, names in versions.items())
        script.write_text("".join(nodes))
        command.insert(-2, f"-Wl,--version-script={script}")
    subprocess.run(command, input=source, text=True, check=True)


def tool(*command: object) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
