"""keras_predicts.py ENGRAFT MODEL.keras PHOTO...: Keras and the program ENGRAFT predict the same for the same photos.

Keras loads the model in safe mode. The photos are read by `keras.utils.load_img` in the mode of the model's channels and resized as in
`image_dataset_from_directory`; `engraft predict --json` reads the same files.
"""

import json
import subprocess
import sys

import keras
import numpy as np
import tensorflow as tf

engraft, path, *photos = sys.argv[1:]
model = keras.saving.load_model(path)
size, channels = model.input_shape[1:3], model.input_shape[3]
mode = {1: "grayscale", 3: "rgb", 4: "rgba"}[channels]
arrays = [keras.utils.img_to_array(keras.utils.load_img(photo, color_mode=mode)) for photo in photos]
pixels = [tf.image.resize(array, size) for array in arrays]
theirs = model.predict(np.stack(pixels), verbose=0)

output = subprocess.run([engraft, "predict", "--json", path, *photos], capture_output=True, text=True, check=True).stdout
ours = np.array([list(json.loads(line)["probabilities"].values()) for line in output.splitlines()])
assert ours.shape == theirs.shape, f"expected probabilities of shape {theirs.shape}, received {ours.shape}"
difference = np.abs(theirs - ours).max()
assert difference <= 1e-4, f"a probability differs by {difference}"
print(f"{len(photos)} photos: the largest difference of a probability is {difference:.1e}")
