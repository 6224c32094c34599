"""torchvision_loads.py FOLDER: torchvision's VGG16 loads engraft's weights and predicts the same; it writes weights for engraft."""

import pathlib
import sys

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file, save_file

folder = pathlib.Path(sys.argv[1])
x = torch.from_numpy(np.load(folder / "x.npy").transpose(0, 3, 1, 2).copy())
torch.manual_seed(3)
theirs = torchvision.models.vgg16(weights=None).eval()
save_file(theirs.state_dict(), folder / "theirs.safetensors")
ours = torchvision.models.vgg16(weights=None).eval()
ours.load_state_dict(load_file(folder / "ours.safetensors"), strict=True)
with torch.no_grad():
    np.save(folder / "theirs.npy", theirs(x).numpy())
    found = ours(x).numpy()
expected = np.load(folder / "ours.npy")
difference = np.abs(found - expected).max() / np.abs(expected).max()
assert difference <= 1e-4, f"outputs differ by {difference}, relative to the largest"
