"""Makes PyTorch importable without the gigabytes of NVIDIA's libraries, which it is linked to but doesn't call on a CPU.

Each missing library is replaced by an empty one, except one that defines all functions. They return 100, CUDA's code for
"no device".
"""

import importlib.util
import pathlib
import re
import subprocess

# The stub that defines all functions. No symbol version refers to this library, so the loader accepts its unversioned functions.
STUB = "libnccl.so.2"


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


folder = pathlib.Path(importlib.util.find_spec("torch").submodule_search_locations[0]) / "lib"
files = list(folder.glob("lib*.so"))
wanted = {name for file in files for name in re.findall(r"NEEDED.*\[(.+)\]", output_of("readelf", "--dynamic", "--wide", file))}
missing = [name for name in wanted if re.match("lib(cu|nccl|nv)", name) and not (folder / name).exists()]
gpu_function = r" [Uw] (_*(?:cu[A-Zd_]|cu[a-z]+[A-Z]|cublas|cudnn|cupti|nccl|nvrtc|nvshmem)\w*)"
functions = {name for file in files for name in re.findall(gpu_function, output_of("nm", "--dynamic", file))}
source = "".join(f"int {name}(void) {{ return 100; }}\n" for name in sorted(functions))
for name in missing:
    command = ["gcc", "-w", "-shared", "-fPIC", "-x", "c", "-", f"-Wl,-soname,{name}", "-o", folder / name]
    subprocess.run(command, input=source if name == STUB else "", text=True, check=True)
