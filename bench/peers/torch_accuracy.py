"""Errors of PyTorch's f32 convolutions relative to f64 on VGG16's layers, as in the example `accuracy` of engraft-kernels."""

import torch
import torch.nn.functional as F

LAYERS = [
    ("block1_conv1", 64, 3, 64),
    ("block1_conv2", 64, 64, 64),
    ("block2_conv1", 32, 64, 128),
    ("block2_conv2", 32, 128, 128),
    ("block3_conv1", 32, 128, 256),
    ("block3_conv2, 3", 32, 256, 256),
    ("block4_conv1", 32, 256, 512),
    ("block4_conv2, 3", 32, 512, 512),
    ("block5_conv1, 2, 3", 32, 512, 512),
]


def run(x: torch.Tensor, w: torch.Tensor, dy: torch.Tensor) -> list[torch.Tensor]:
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
    y = F.conv2d(x, w, padding=1)
    y.backward(dy)
    return [y.detach(), x.grad, w.grad]


def difference(found: torch.Tensor, exact: torch.Tensor) -> str:
    size = exact.square().mean().sqrt()
    differences = (found.double() - exact).abs() / size
    return f"{1e7 * differences.max():.0f} / {1e7 * differences.square().mean().sqrt():.1f}"


torch.manual_seed(7)
print("| layer | forward | input gradient | kernel gradient |\n|---|---|---|---|")
for name, side, in_c, out_c in LAYERS:
    x = torch.randn(1, in_c, side, side).relu().contiguous(memory_format=torch.channels_last)
    w = (torch.randn(out_c, in_c, 3, 3) * (2 / (9 * in_c)) ** 0.5).contiguous(memory_format=torch.channels_last)
    dy = torch.randn(1, out_c, side, side).contiguous(memory_format=torch.channels_last)
    found, exact = run(x, w, dy), run(x.double(), w.double(), dy.double())
    print(f"| {name} | {' | '.join(difference(f, e) for f, e in zip(found, exact))} |")
