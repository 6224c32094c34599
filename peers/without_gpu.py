"""Lets PyTorch be imported without the gigabytes of NVIDIA's libraries, which it is linked to and never calls on a CPU.

Each library that is missing is made empty, but for one that holds all their functions: every one of them answers 100, which
is CUDA's "no device".
"""

import importlib.util
import pathlib
import re
import subprocess

# Not asked for by any symbol's version, so that the loader takes functions of any version from it.
HOLDS_ALL = "libnccl.so.2"


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


folder = pathlib.Path(importlib.util.find_spec("torch").submodule_search_locations[0]) / "lib"
files = list(folder.glob("lib*.so"))
wanted = {name for file in files for name in re.findall(r"NEEDED.*\[(.+)\]", output_of("readelf", "--dynamic", "--wide", file))}
missing = [name for name in wanted if re.match("lib(cu|nccl|nv)", name) and not (folder / name).exists()]
family = r" [Uw] (_*(?:cu[A-Zd_]|cu[a-z]+[A-Z]|cublas|cudnn|cupti|nccl|nvrtc|nvshmem)\w*)"
functions = {name for file in files for name in re.findall(family, output_of("nm", "--dynamic", file))}
source = "".join(f"int {name}(void) {{ return 100; }}\n" for name in sorted(functions))
for name in missing:
    command = ["gcc", "-w", "-shared", "-fPIC", "-x", "c", "-", f"-Wl,-soname,{name}", "-o", folder / name]
    subprocess.run(command, input=source if name == HOLDS_ALL else "", text=True, check=True)
