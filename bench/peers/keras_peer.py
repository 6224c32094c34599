"""The benchmark's model in Keras on TensorFlow."""

import os
from collections.abc import Callable

from serve import CLASSES, options, serve

OPTIONS = options()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import tensorflow as tf

# Number of frozen layers of VGG16, its input included. `--freeze 15` counts an augmentation layer, too, which is absent here.
FROZEN = {"frozen": 19, "fine-tune=15": 14}


def model(size: int) -> keras.Model:
    inputs = keras.Input([size, size, 3])
    base = keras.applications.VGG16(include_top=False, weights=None, input_tensor=inputs)
    x = keras.layers.Flatten()(base.output)
    x = keras.layers.Dense(4096, activation="relu")(x)
    x = keras.layers.Dense(4096, activation="relu")(x)
    outputs = keras.layers.Dense(CLASSES, activation="softmax", dtype="float32")(x)
    for layer in base.layers[: FROZEN.get(OPTIONS["task"], 0)]:
        layer.trainable = False
    return keras.Model(inputs, outputs)


def keras_step(net: keras.Model, x: np.ndarray, y: np.ndarray) -> Callable[[], object]:
    """A step by Keras' `train_on_batch` or `predict_on_batch`."""
    if OPTIONS["task"] == "predict":
        return lambda: net.predict_on_batch(x)
    return lambda: net.train_on_batch(x, y)


def function_step(net: keras.Model, x: np.ndarray, y: np.ndarray) -> Callable[[], object]:
    """A step by a custom `tf.function`, without the overhead of Keras' own."""
    x, y = tf.constant(x), tf.constant(y)

    @tf.function
    def predict() -> tf.Tensor:
        return net(x, training=False)

    @tf.function
    def train() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(keras.losses.categorical_crossentropy(y, net(x, training=True)))
        weights = net.trainable_variables
        net.optimizer.apply(tape.gradient(loss, weights), weights)
        return loss

    net.optimizer.build(net.trainable_variables)
    step = predict if OPTIONS["task"] == "predict" else train
    return lambda: step().numpy()


def main() -> None:
    settings, batch, size = OPTIONS["settings"], OPTIONS["batch"], OPTIONS["size"]
    tf.config.threading.set_intra_op_parallelism_threads(OPTIONS["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(OPTIONS["threads"])
    if settings.get("bf16"):
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    keras.utils.set_random_seed(0)
    net = model(size)
    net.compile(keras.optimizers.Adam(1e-6), "categorical_crossentropy", jit_compile=settings.get("jit", False))
    x = np.random.default_rng(0).uniform(-128, 128, [batch, size, size, 3]).astype(np.float32)
    y = np.eye(CLASSES, dtype=np.float32)[np.arange(batch) % CLASSES]
    step = {"keras": keras_step, "function": function_step}[settings["step"]](net, x, y)
    serve(step, f"Keras {keras.__version__}, TensorFlow {tf.__version__}")


main()
