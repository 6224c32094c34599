"""The benchmark's model in PyTorch."""

import warnings

from serve import CLASSES, options, serve

warnings.filterwarnings("ignore")

import torch
from torch import nn

OPTIONS = options()
BLOCKS = [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)]


def model(size: int) -> tuple[nn.Sequential, nn.Sequential]:
    layers, channels = [], 3
    for convolutions, filters in BLOCKS:
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(inplace=True)]
            channels = filters
        layers.append(nn.MaxPool2d(2))
    base = nn.Sequential(*layers)
    head = nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * (size // 32) ** 2, 4096),
        nn.ReLU(inplace=True),
        nn.Linear(4096, 4096),
        nn.ReLU(inplace=True),
        nn.Linear(4096, CLASSES),
    )
    return base, head


def freeze(base: nn.Sequential, task: str) -> None:
    """Freezes convolutions by task. `fine-tune=15` counts input, augmentation, and 13 layers of VGG16 with 10 convolutions."""
    convolutions = [layer for layer in base if isinstance(layer, nn.Conv2d)]
    trainable = {"full": convolutions, "fine-tune=15": convolutions[10:]}.get(task, [])
    for layer in convolutions:
        layer.requires_grad_(layer in trainable)


def main() -> None:
    settings, task, batch, size = OPTIONS["settings"], OPTIONS["task"], OPTIONS["batch"], OPTIONS["size"]
    torch.set_num_threads(OPTIONS["threads"])
    torch.set_num_interop_threads(1)
    torch.manual_seed(0)
    base, head = model(size)
    freeze(base, task)
    net = nn.Sequential(base, head).to(memory_format=torch.channels_last)
    x = (256 * torch.rand(batch, 3, size, size) - 128).to(memory_format=torch.channels_last)
    y = torch.arange(batch) % CLASSES
    precision = torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings.get("bf16", False))
    run = torch.compile(net) if settings.get("compile") else net

    @torch.inference_mode()
    def predict() -> None:
        with precision:
            run(x).softmax(1)

    trainable = [weight for weight in net.parameters() if weight.requires_grad]
    adam = torch.optim.Adam(trainable, lr=1e-6, fused=True) if task != "predict" else None

    def train() -> None:
        adam.zero_grad()
        with precision:
            loss = nn.functional.cross_entropy(run(x), y)
        loss.backward()
        adam.step()
        loss.item()

    serve(predict if task == "predict" else train, f"PyTorch {torch.__version__}")


main()
