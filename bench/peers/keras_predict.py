"""`engraft predict MODEL PHOTO` in Keras: `keras_predict.py MODEL PHOTO`. `--make MODEL SIZE` writes the benchmark's model."""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras


def make(path: str, size: int) -> None:
    inputs = keras.Input([size, size, 3])
    base = keras.applications.VGG16(include_top=False, weights=None, input_tensor=inputs)
    x = keras.layers.Flatten()(base.output)
    for _ in range(2):
        x = keras.layers.Dense(4096, activation="relu")(x)
    keras.Model(inputs, keras.layers.Dense(5, activation="softmax")(x)).save(path)


def predict(path: str, photo: str) -> None:
    model = keras.models.load_model(path, compile=False)
    pixels = keras.utils.img_to_array(keras.utils.load_img(photo, target_size=model.input_shape[1:3]))
    print(model(pixels[None], training=False).numpy()[0].tolist())


if sys.argv[1] == "--make":
    make(sys.argv[2], int(sys.argv[3]))
else:
    predict(*sys.argv[1:])
