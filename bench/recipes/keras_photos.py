"""Photos for Keras, as its `image_dataset_from_directory` reads them, except that transparent photos get a white background."""

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from task import Task


def read(job: Task, photos: list[str], size: int) -> np.ndarray:
    """Pixels [photos, size, size, 3] in 0..=255, resized bilinearly without antialiasing."""
    return np.stack([tf.image.resize(pixels(job.folder / photo), (size, size)).numpy() for photo in photos])


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        if image.mode == "RGB":
            return np.asarray(image)
        rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    white.alpha_composite(rgba)
    return np.asarray(white.convert("RGB"))


def augmentation() -> keras.Sequential:
    layers = [keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.1), keras.layers.RandomZoom(0.2)]
    return keras.Sequential(layers)


def fit(job: Task, model: keras.Model, learning_rate: float, epochs: int, size: int):
    """Trains on the training set, and returns a function that predicts the held-out photos."""
    labels = keras.utils.to_categorical([job.label(photo) for photo in job.training], len(job.classes))
    model.compile(keras.optimizers.Adam(learning_rate), "categorical_crossentropy", metrics=["accuracy"])
    model.fit(read(job, job.training, size), labels, batch_size=32, epochs=epochs, verbose=2)
    return lambda: model.predict(read(job, job.held_out, size), batch_size=32, verbose=0).tolist()
