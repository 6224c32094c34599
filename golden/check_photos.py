"""Compares Keras with engraft on photos: `check_photos.py ENGRAFT MODEL.keras FOLDER`.

Keras loads the model in its default safe mode and predicts from the pixels of `keras.utils.load_img`, resized as
`image_dataset_from_directory` resizes; `engraft predict --json` reads the same files. Ends with an error where a
probability differs by more than 1e-4. No test needs this: it is run by hand where Keras is installed.
"""

import json
import os
import pathlib
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

engraft, path, folder = sys.argv[1:]
photos = [str(photo) for photo in sorted(pathlib.Path(folder).rglob("*")) if photo.is_file()]
model = keras.models.load_model(path)
size = model.input_shape[1:3]
pixels = [tf.image.resize(keras.utils.img_to_array(keras.utils.load_img(photo)), size) for photo in photos]
theirs = model.predict(np.stack(pixels), verbose=0)

output = subprocess.run([engraft, "predict", "--json", path, *photos], capture_output=True, text=True, check=True).stdout
ours = np.array([list(json.loads(line)["probabilities"].values()) for line in output.splitlines()])

difference = np.abs(theirs - ours).max()
same = (theirs.argmax(axis=1) == ours.argmax(axis=1)).mean()
print(f"{len(photos)} photos: the largest difference of a probability is {difference:.1e}, the class is the same for {same:.0%}")
sys.exit(bool(difference > 1e-4))
