"""torch_writes.py FOLDER: networks of torchvision, timm and efficientnet-lite-pytorch with random weights, and their logits.

For each network, writes NAME.safetensors and NAME.npy: the logits of the two images of its size in x96.npy and others, pixels from 0 to 255, channels last.
"""

import pathlib
import sys

import numpy as np
import timm
import torch
import torchvision
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import save_file

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
LITE = ([127 / 255] * 3, [128 / 255] * 3)
# The name of the network here, its PyTorch twin, and the mean and deviation of its input.
NETWORKS = {
    "resnet18": (lambda: torchvision.models.resnet18(), *IMAGENET),
    "resnet34": (lambda: torchvision.models.resnet34(), *IMAGENET),
    "resnet50-torchvision": (lambda: torchvision.models.resnet50(), *IMAGENET),
    "efficientnet-b0": (lambda: timm.create_model("tf_efficientnet_b0"), *IMAGENET),
    "mobilenet-v3-large": (lambda: timm.create_model("tf_mobilenetv3_large_100"), [0.5] * 3, [0.5] * 3),
    "mobilenet-v3-small": (lambda: timm.create_model("tf_mobilenetv3_small_100"), [0.5] * 3, [0.5] * 3),
    "convnext-tiny": (lambda: timm.create_model("convnext_tiny"), *IMAGENET),
    "efficientnet-lite0": (lambda: EfficientNet.from_name("efficientnet-lite0"), *LITE),
    "efficientnet-lite1": (lambda: EfficientNet.from_name("efficientnet-lite1"), *LITE),
    "efficientnet-lite2": (lambda: EfficientNet.from_name("efficientnet-lite2"), *LITE),
    "efficientnet-lite3": (lambda: EfficientNet.from_name("efficientnet-lite3"), *LITE),
    "efficientnet-lite4": (lambda: EfficientNet.from_name("efficientnet-lite4"), *LITE),
}


def settle(model, x):
    """Weights that show a wrong layer: scales and shifts away from their first values, statistics of the images."""
    generator = torch.Generator().manual_seed(7)

    def uniform(tensor, low, high):
        tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))

    for name, parameter in model.named_parameters():
        if name.endswith("gamma") or (parameter.ndim == 1 and name.endswith("weight")):
            uniform(parameter, 0.7, 1.3)
        elif parameter.ndim == 1:
            uniform(parameter, -0.3, 0.3)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    for module in model.modules():
        if "drop" in type(module).__name__.lower():
            module.eval()
    model(x)
    model.eval()


folder = pathlib.Path(sys.argv[1])
LITE_SIZES = dict(zip("01234", (224, 240, 260, 280, 300)))
with torch.no_grad():
    for name, (make, mean, deviation) in NETWORKS.items():
        torch.manual_seed(3)
        # efficientnet-lite-pytorch pads for the size that a network was trained with.
        size = LITE_SIZES[name[-1]] if "lite" in name else 96
        pixels = torch.from_numpy(np.load(folder / f"x{size}.npy").transpose(0, 3, 1, 2).copy())
        model = make()
        x = (pixels / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]
        settle(model, x)
        np.save(folder / f"{name}.npy", model(x).numpy())
        save_file(model.state_dict(), folder / f"{name}.safetensors")
(folder / "networks.txt").write_text("\n".join(NETWORKS))
