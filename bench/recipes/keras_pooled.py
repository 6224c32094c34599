"""Keras with a pooled head on EfficientNet-Lite0, at 224 px: averages, Dropout, one Dense layer, 20 epochs at 0.001."""

import task  # first: its import starts the clock

import keras

import base
import keras_photos
from task import Task

SIZE = 224


def train(job: Task):
    keras.utils.set_random_seed(job.seed)
    pretrained = keras.models.load_model(base.path(), compile=False)
    # The layers after the augmentation: rescaling, convolutions.
    first = next(layer for layer in pretrained.layers if isinstance(layer, keras.layers.Rescaling))
    body = keras.Model(first.input, pretrained.get_layer("top_activation").output)
    body.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    x = body(keras_photos.augmentation()(inputs), training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    outputs = keras.layers.Dense(len(job.classes), activation="softmax")(x)
    return keras_photos.fit(job, keras.Model(inputs, outputs), learning_rate=1e-3, epochs=20, size=SIZE)


if __name__ == "__main__":
    task.run("keras-pooled", train, task.versions_of("keras", "tensorflow", "numpy"))
