"""Resizing, cropping, regularization and augmentation layers outside training, forward and backward."""

import numpy as np
from keras import layers as L

import store
from cases.layers import IMAGE, evaluate


def resizings():
    sizes = [("up", (11, 13)), ("down", (3, 4)), ("mixed", (9, 4)), ("double", (10, 14))]
    # TensorFlow has no gradient of the interpolation `area`.
    for interpolation in ["bicubic", "lanczos3", "lanczos5"]:
        for label, size in sizes:
            yield f"resizing_{interpolation}_{label}", L.Resizing(*size, interpolation=interpolation), [IMAGE]
    for interpolation in ["nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"]:
        for label, size in sizes[:3]:
            layer = L.Resizing(*size, interpolation=interpolation, antialias=True)
            yield f"resizing_{interpolation}_antialias_{label}", layer, [IMAGE]
    yield "resizing_lanczos5_small", L.Resizing(9, 2, interpolation="lanczos5"), [(2, 2, 12, 1)]
    yield "resizing_bicubic_antialias_small", L.Resizing(2, 9, interpolation="bicubic", antialias=True), [(2, 12, 2, 1)]
    for label, size, shape in [("wide", (4, 9), (2, 7, 6, 2)), ("tall", (9, 4), (2, 6, 9, 2)), ("odd", (5, 5), (1, 8, 11, 3))]:
        yield f"resizing_crop_{label}", L.Resizing(*size, crop_to_aspect_ratio=True), [shape]
        yield f"resizing_pad_{label}", L.Resizing(*size, pad_to_aspect_ratio=True), [shape]
        filled = L.Resizing(*size, pad_to_aspect_ratio=True, fill_value=1.5, interpolation="bicubic")
        yield f"resizing_pad_filled_{label}", filled, [shape]
    for interpolation in ["bicubic", "lanczos3", "lanczos5"]:
        yield f"up_sampling2d_{interpolation}", L.UpSampling2D((2, 3), interpolation=interpolation), [IMAGE]


def crops():
    yield "center_crop", L.CenterCrop(3, 4), [IMAGE]
    yield "center_crop_even", L.CenterCrop(4, 4), [(2, 7, 8, 2)]
    yield "center_crop_same", L.CenterCrop(5, 7), [IMAGE]
    yield "center_crop_smaller", L.CenterCrop(9, 4), [IMAGE]
    yield "center_crop_larger", L.CenterCrop(8, 10), [IMAGE]


def constants():
    """Arrays of every form that are broadcast to the samples."""
    numbers = np.random.default_rng(7).uniform(0.5, 2.0, (5, 7, 3)).round(2)
    for label, scale, offset in [
        ("number_array", np.float32(0.5), np.array(1.5)),
        ("channels", np.array([1.0, 2.0, 0.5]), [0.5, 0.25, -1.0]),
        ("image", numbers, 0.5),
        ("rows", [[[1.0]], [[2.0]], [[0.5]], [[4.0]], [[0.25]]], numbers[0]),
        ("columns", 2.0, numbers[:1, :, :1]),
        ("batch_of_one", numbers[None], [[[[0.5, 1.0, 2.0]]]]),
    ]:
        yield f"rescaling_{label}", L.Rescaling(scale, offset), [IMAGE]
    yield "rescaling_features", L.Rescaling(np.arange(1.0, 6.0), 1.0), [(3, 5)]
    for label, axis, shape in [("rows", 1, (5,)), ("image", (1, 2, 3), (5, 7, 3)), ("columns", (-1, 2), (7, 3)), ("one", None, ())]:
        for invert in [False, True]:
            suffix = f"{label}_invert" if invert else label
            size = int(np.prod(shape))
            mean, variance = numbers.ravel()[:size], 0.25 + np.arange(size) / 50
            given = {"mean": mean.reshape(shape).tolist(), "variance": variance.reshape(shape).tolist()}
            yield f"normalization_{suffix}", L.Normalization(axis=axis, invert=invert, **given), [IMAGE]
        yield f"normalization_adapted_{label}", L.Normalization(axis=axis), [IMAGE]
    yield "normalization_adapted_channels_invert", L.Normalization(invert=True), [IMAGE]
    yield "normalization_broadcast", L.Normalization(axis=(1, 3), mean=[0.5, 1.0, 2.0], variance=[1.0, 4.0, 0.25]), [IMAGE]


def regularizations():
    yield "identity", L.Identity(), [IMAGE]
    yield "spatial_dropout1d", L.SpatialDropout1D(0.3), [(2, 5, 3)]
    yield "spatial_dropout2d", L.SpatialDropout2D(0.3), [IMAGE]
    yield "spatial_dropout3d", L.SpatialDropout3D(0.3, seed=3), [(2, 2, 3, 4, 3)]
    yield "gaussian_dropout", L.GaussianDropout(0.3), [IMAGE]
    yield "gaussian_noise", L.GaussianNoise(0.3, seed=-3), [IMAGE]
    yield "alpha_dropout", L.AlphaDropout(0.3, noise_shape=(None, 1, 1, 3)), [IMAGE]
    yield "activity_regularization", L.ActivityRegularization(l1=0.1, l2=0.2), [IMAGE]


def contrasts():
    yield "auto_contrast", L.AutoContrast(), IMAGE
    yield "auto_contrast_range", L.AutoContrast(value_range=(-1.5, 2)), IMAGE
    yield "auto_contrast_one_pixel", L.AutoContrast(value_range=(0, 1)), (3, 1, 1, 2)


def evaluate_contrast(name, layer, shape):
    """Without gradients, which depend on how the ends of the range are rounded. The last channel has one value."""
    layer.name = name
    random = store.generator(name)
    x = random.standard_normal(shape).astype("float32")
    x[..., -1] = 0.25
    y = np.asarray(layer(x, training=False))
    case = store.Case()
    entry = {
        "case": name,
        "layer": store.serialize(layer),
        "inputs": case.put_all("x", [x]),
        "weights": [],
        "training": False,
        "output": case.put("y", y),
        "upstream": case.put("dy", np.ones_like(y)),
        "input_gradients": [],
        "weight_gradients": {},
        "new_weights": {},
    }
    return entry, case


def write(directory):
    entries = []
    for cases in [resizings, crops, constants, regularizations]:
        for name, layer, shapes in cases():
            entry, case = evaluate(name, layer, shapes)
            store.write_npz(directory / f"{name}.npz", case)
            entries.append(entry)
    for name, layer, shape in contrasts():
        entry, case = evaluate_contrast(name, layer, shape)
        store.write_npz(directory / f"{name}.npz", case)
        entries.append(entry)
    store.write_index(directory, entries)
