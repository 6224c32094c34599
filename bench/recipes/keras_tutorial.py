"""Keras with the recipe of common tutorials on VGG16, at 128 px: two Dense layers of 4096 units, ten epochs at 0.0001."""

import task  # first: its import starts the clock

import keras

import keras_photos
from task import Task

SIZE = 128
WEIGHTS = task.ROOT / "assets" / "keras" / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


def train(job: Task):
    keras.utils.set_random_seed(job.seed)
    body = keras.applications.VGG16(include_top=False, weights=WEIGHTS, input_shape=(SIZE, SIZE, 3))
    body.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.applications.vgg16.preprocess_input(keras_photos.augmentation()(inputs))
    x = keras.layers.Flatten()(body(x, training=False))
    x = keras.layers.Dense(4096, activation="relu")(x)
    x = keras.layers.Dense(4096, activation="relu")(x)
    outputs = keras.layers.Dense(len(job.classes), activation="softmax")(x)
    return keras_photos.fit(job, keras.Model(inputs, outputs), learning_rate=1e-4, epochs=10, size=SIZE)


if __name__ == "__main__":
    task.run("keras-tutorial", train, task.versions_of("keras", "tensorflow", "numpy"))
