"""Installs the peers at pinned versions, each in a virtual environment under `target/bench`."""

import hashlib
import re
import subprocess
import sys
import venv
from pathlib import Path

from rows import Peer

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "bench" / "peers"
TARGET = ROOT / "target" / "bench"
RUST = TARGET / "rust"


def python_of(name: str) -> Path:
    """The Python of a peer's virtual environment."""
    return TARGET / "env" / name / "bin" / "python"


def program_of(name: str) -> Path:
    """The executable of a peer written in Rust."""
    return RUST / "release" / name


def requirements_of(name: str) -> Path:
    """The file that pins a peer's versions: its requirements file, or the lock file of the Rust peers."""
    requirements = PEERS / f"{name}.txt"
    return requirements if requirements.exists() else PEERS / "rust" / "Cargo.lock"


def fingerprint(name: str) -> str:
    """A hash that changes with the pinned versions of a peer."""
    return hashlib.sha256(requirements_of(name).read_bytes()).hexdigest()


def set_up(peers: list[Peer]) -> None:
    """Installs these peers, unless they are installed."""
    for peer in peers:
        if peer.script:
            set_up_python(peer.name)
    if any(peer.program for peer in peers):
        command = ["cargo", "build", "--release", "--locked", "--manifest-path", PEERS / "rust" / "Cargo.toml"]
        for peer in peers:
            command += ["-p", peer.program] if peer.program else []
        subprocess.run([*command, "--target-dir", RUST], check=True)


def set_up_python(name: str) -> None:
    """Creates a virtual environment with exactly the packages of `peers/NAME.txt`."""
    stamp = TARGET / "env" / name / "complete"
    if stamp.exists() and stamp.read_text() == fingerprint(name):
        return
    print(f"installing {name}", file=sys.stderr)
    venv.create(TARGET / "env" / name, with_pip=True, clear=True)
    # --no-deps: the requirements files list all dependencies, except the gigabytes of PyTorch's GPU libraries.
    command = [python_of(name), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "-r", requirements_of(name)], check=True)
    if name == "torch":
        (library,) = (TARGET / "env" / name).glob("lib/python*/site-packages/torch/lib")
        build_gpu_stubs(library)
    stamp.write_text(fingerprint(name))


def build_gpu_stubs(folder: Path) -> None:
    """Builds stubs of the GPU libraries that PyTorch is linked to, but doesn't call on a CPU.

    Every function returns 100, CUDA's code for "no device".
    """
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
            build_stub(folder, library, versions or {"": plain})


def build_stub(folder: Path, library: str, versions: dict[str, set[str]]) -> None:
    """Builds a shared library with these functions, by symbol version."""
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
