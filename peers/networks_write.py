"""networks_write.py FOLDER: Keras writes networks with random weights.

One of each family goes to FOLDER/NAME.FORMAT, with its line `NAME.FORMAT BACKBONE SIZE` in FOLDER/networks.txt; deeper networks go
to FOLDER too, with their lines `NAME.FORMAT BACKBONE`, of the network that isn't theirs, in FOLDER/others.txt.
"""

import pathlib
import sys

import keras
import numpy as np
from keras import applications
from keras.src.applications import efficientnet

# The network, the name here, the size of its images in pixels, the format, and whether it has its top.
NETWORKS = [
    ("MobileNet", "mobilenet", 32, "h5", True),
    ("MobileNetV2", "mobilenet-v2", 32, "weights.h5", True),
    ("MobileNetV3Small", "mobilenet-v3-small", 32, "keras", True),
    ("EfficientNetB0", "efficientnet-b0", 32, "keras", False),
    ("EfficientNetV2B0", "efficientnet-v2-b0", 32, "weights.h5", True),
    ("DenseNet121", "densenet121", 32, "h5", False),
    ("ResNet50", "resnet50", 32, "weights.h5", False),
    ("ResNet50V2", "resnet50-v2", 32, "h5", True),
    ("InceptionV3", "inception-v3", 75, "weights.h5", False),
    ("Xception", "xception", 71, "keras", False),
    ("NASNetMobile", "nasnet-mobile", 32, "h5", False),
    ("ConvNeXtTiny", "convnext-tiny", 32, "weights.h5", True),
]
# A network, its formats, and the names of smaller networks whose layers it has, among others.
OTHERS = [
    ("VGG19", ["h5"], ["vgg16"]),
    ("ResNet101", ["weights.h5"], ["resnet50"]),
    ("EfficientNetB0", ["h5"], ["efficientnet-lite0"]),
    ("EfficientNetB1", ["h5", "weights.h5"], ["efficientnet-b0"]),
    ("EfficientNetV2B1", ["h5"], ["efficientnet-v2-b0"]),
]
random = np.random.default_rng(7)


def network(name, size, include_top):
    keras.utils.clear_session()
    keras.utils.set_random_seed(7)
    model = getattr(applications, name)(weights=None, include_top=include_top, input_shape=(size, size, 3))
    for variable in model.weights:
        if len(variable.shape) == 1 and "int" not in variable.dtype:
            # Biases, scales and statistics away from the zeros and ones in which a missing or swapped one would not show.
            variable.assign(variable.numpy() + random.uniform(0.0, 0.1, variable.shape))
    return model


def published_efficientnet(size, folder):
    """EfficientNetB0 as with its ImageNet weights: `Normalization` has the deviation as its variance, and a second `Rescaling` follows."""
    model = network("EfficientNetB0", size, False)
    mean, variance, count = model.get_layer("normalization").weights
    mean.assign([0.485, 0.456, 0.406])
    variance.assign([0.229, 0.224, 0.225])
    weights = folder / "published.weights.h5"
    model.save_weights(weights)
    efficientnet.file_utils.get_file = lambda *_, **__: weights
    keras.utils.clear_session()
    model = applications.EfficientNetB0(weights="imagenet", include_top=False, input_shape=(size, size, 3))
    assert [type(layer).__name__ for layer in model.layers[1:4]] == ["Rescaling", "Normalization", "Rescaling"]
    return model


def write(model, path):
    model.save_weights(path) if path.name.endswith(".weights.h5") else model.save(path)


folder = pathlib.Path(sys.argv[1])
lines = []
for name, backbone, size, extension, include_top in NETWORKS:
    model = published_efficientnet(size, folder) if name == "EfficientNetB0" else network(name, size, include_top)
    write(model, folder / f"{name}.{extension}")
    lines.append(f"{name}.{extension} {backbone} {size}")
(folder / "networks.txt").write_text("\n".join(lines))
lines = []
for name, extensions, smaller in OTHERS:
    model = network(name, 32, False)
    for extension in extensions:
        write(model, folder / f"deep_{name}.{extension}")
        lines += [f"deep_{name}.{extension} {backbone}" for backbone in smaller]
(folder / "others.txt").write_text("\n".join(lines))
