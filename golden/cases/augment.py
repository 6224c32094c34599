"""RandomFlip, RandomRotation and RandomZoom with fixed transformations instead of random ones."""

import numpy as np
from keras import layers as L
from keras import ops

import store

FILL_MODES = ["reflect", "wrap", "constant", "nearest"]
INTERPOLATIONS = ["bilinear", "nearest"]
SIZES = {"odd": (17, 13), "square": (16, 16)}
# Angles in degrees, one for each of the two images.
ANGLES = {"small": (15.0, -40.0), "large": (123.0, -171.3), "tiny": (0.7, -3.3)}
# Zoom factors (heights, widths) of the two images: below 1 zooms in, above 1 zooms out.
ZOOMS = {
    "in": ((0.83, 0.57), (0.83, 0.57)),
    "out": ((1.23, 1.91), (1.23, 1.91)),
    "separate": ((0.71, 1.37), (1.29, 0.61)),
    "far": ((3.17, 2.71), (4.73, 0.37)),
}
# Minimum distance, in pixels, of a coordinate from a discontinuity of the sampling rule, such as a rounding boundary.
# It is far above the rounding error of f32, so that a correct implementation can't sample another pixel.
CLEARANCE = 1e-4


def photo_like(height, width):
    """Two images of integers from 0 to 255, of smooth gradients and a fine texture."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    texture = store.generator(f"{height}x{width}").uniform(-40, 40, (2, height, width, 3))
    shades = 128 + 60 * np.sin(0.4 * x + c) + 50 * np.cos(0.3 * y - 0.5 * c)
    return np.clip(np.rint(shades + texture), 0, 255).astype("float32")


def flips():
    for mode in ["horizontal", "vertical", "horizontal_and_vertical"]:
        for size in SIZES:
            for label, decisions in [("first", (1, 0)), ("both", (1, 1)), ("none", (0, 0))]:
                images = photo_like(*SIZES[size])
                transformation = {"flips": np.array(decisions)}
                yield f"flip_{mode}_{size}_{label}", L.RandomFlip(mode), images, transformation


def fillings():
    for fill_mode in FILL_MODES:
        for interpolation in INTERPOLATIONS:
            options = {"fill_mode": fill_mode, "interpolation": interpolation}
            if fill_mode == "constant":
                options["fill_value"] = 37.5
            yield f"{fill_mode}_{interpolation}", options


def rotations():
    for filling, options in fillings():
        for label, angles in ANGLES.items():
            for size, (height, width) in SIZES.items():
                layer = L.RandomRotation(0.5, **options)
                matrix = rotation_matrix(layer, np.float32(angles), height, width)
                transformation = {"angle": np.float32(angles), "matrix": matrix}
                yield f"rotation_{filling}_{label}_{size}", layer, photo_like(height, width), transformation


def zooms():
    for filling, options in fillings():
        for i, (label, (heights, widths)) in enumerate(ZOOMS.items()):
            height, width = list(SIZES.values())[i % 2]
            separate = {} if heights == widths else {"width_factor": 0.9}
            layer = L.RandomZoom(0.9, **separate, **options)
            factors = np.float32([widths, heights]).T
            transformation = {
                "height_zoom": np.float32(heights),
                "width_zoom": np.float32(widths),
                "matrix": np.asarray(layer._get_zoom_matrix(ops.convert_to_tensor(factors), height, width)),
            }
            yield f"zoom_{filling}_{label}", layer, photo_like(height, width), transformation


def rotation_matrix(layer, angles, height, width):
    """The matrix that RandomRotation computes for these angles; the image's centre is fixed."""
    zeros, ones = np.zeros_like(angles), np.ones_like(angles)
    centre = {"center_x": 0.5, "center_y": 0.5}
    still = {"translate_x": zeros, "translate_y": zeros, "scale": ones, "shear_x": zeros, "shear_y": zeros}
    angle = ops.convert_to_tensor(angles)
    return np.asarray(layer._compute_affine_matrix(**centre, angle=angle, **still, height=height, width=width))


def as_keras_passes_it(transformation, images):
    """The transformation in the form that the layer's `get_random_transformation` returns."""
    if "flips" in transformation:
        return {"flips": transformation["flips"].astype(bool).reshape(-1, 1, 1, 1), "input_shape": images.shape}
    if "angle" in transformation:
        return {"angle": transformation["angle"], "rotation_matrix": transformation["matrix"]}
    zoom = {name: transformation[name].reshape(-1, 1) for name in ["height_zoom", "width_zoom"]}
    return {**zoom, "input_shape": images.shape}


def require_clearance(name, layer, transformation, height, width):
    """Raises an error if the rounding of a coordinate could change which pixel is sampled."""
    if "matrix" not in transformation:
        return
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    for a0, a1, a2, b0, b1, b2, *_ in transformation["matrix"].astype("float64"):
        for coordinate, length in [(a0 * x + a1 * y + a2, width), (b0 * x + b1 * y + b2, height)]:
            jumps = []
            if layer.interpolation == "nearest":
                jumps.append(coordinate - np.floor(coordinate) - 0.5)
            if layer.fill_mode == "wrap":
                jumps.append((coordinate / (length - 1) - np.rint(coordinate / (length - 1))) * (length - 1))
            if jumps and np.min(np.abs(jumps)) < CLEARANCE:
                problem = f"a coordinate is within {CLEARANCE} of a rounding boundary"
                raise ValueError(f"case `{name}`: {problem}; choose another transformation")


def write(directory):
    entries = []
    for cases in [flips, rotations, zooms]:
        for name, layer, images, transformation in cases():
            layer.name = name
            require_clearance(name, layer, transformation, *images.shape[1:3])
            y = layer.transform_images(images, as_keras_passes_it(transformation, images), training=True)
            case = store.Case()
            entries.append(
                {
                    "case": name,
                    "layer": store.serialize(layer),
                    "images": case.put("images", images),
                    "transformation": {key: case.put(key, value) for key, value in transformation.items()},
                    "output": case.put("y", y),
                }
            )
            store.write_npz(directory / f"{name}.npz", case)
    store.write_index(directory, entries)
