"""Augmentation layers in prediction, where they leave images as they are, in the format of `layers`."""

import keras
import store
from cases import layers

L = keras.layers
IMAGE = (2, 5, 7, 3)


def augmentation():
    yield "random_flip", L.RandomFlip()
    yield "random_rotation", L.RandomRotation(0.2, fill_mode="wrap")
    yield "random_zoom", L.RandomZoom(0.3, 0.2, interpolation="nearest")
    yield "random_brightness", L.RandomBrightness(0.4)
    yield "random_color_degeneration", L.RandomColorDegeneration(0.5)
    yield "random_color_jitter", L.RandomColorJitter(brightness_factor=0.5)
    yield "random_contrast", L.RandomContrast(0.3)
    yield "random_crop", L.RandomCrop(4, 6)
    yield "random_elastic_transform", L.RandomElasticTransform(0.5)
    yield "random_erasing", L.RandomErasing(0.5)
    yield "random_gaussian_blur", L.RandomGaussianBlur(0.5)
    yield "random_grayscale", L.RandomGrayscale(0.4)
    yield "random_hue", L.RandomHue(0.3)
    yield "random_invert", L.RandomInvert(0.5)
    yield "random_perspective", L.RandomPerspective(0.5)
    yield "random_posterization", L.RandomPosterization(4)
    yield "random_saturation", L.RandomSaturation(0.3)
    yield "random_sharpness", L.RandomSharpness(0.3)
    yield "random_shear", L.RandomShear(0.2, 0.1)
    yield "random_translation", L.RandomTranslation(0.2, 0.1)
    yield "rand_augment", L.RandAugment()
    yield "aug_mix", L.AugMix()
    yield "cut_mix", L.CutMix()
    yield "mix_up", L.MixUp()
    yield "equalization", L.Equalization()
    yield "max_num_bounding_boxes", L.MaxNumBoundingBoxes(4)
    yield "solarization", L.Solarization()
    yield "pipeline", L.Pipeline([L.Rescaling(0.5), L.RandomFlip("horizontal"), L.RandomContrast(0.2)])


def write(directory):
    entries = []
    for name, layer in augmentation():
        entry, case = layers.evaluate(name, layer, [IMAGE])
        store.write_npz(directory / f"{name}.npz", case)
        entries.append(entry)
    store.write_index(directory, entries)
