"""keras_has_labels.py MODEL.keras: Keras knows the model as a multi-label classifier: a sigmoid for each label, its loss and metric.
"""

import sys

import keras
import numpy as np

model = keras.saving.load_model(sys.argv[1])
outputs = model.output_shape[1]
assert model.layers[-1].activation is keras.activations.sigmoid, model.layers[-1].activation
x = np.random.default_rng(0).uniform(0, 255, (2, *model.input_shape[1:])).astype("float32")
y = np.eye(2, outputs, dtype="float32")
p = model.predict(x, verbose=0)
found = model.evaluate(x, y, verbose=0, return_dict=True)
clipped = np.clip(p.astype("float64"), 1e-7, 1 - 1e-7)
loss = -(y * np.log(clipped) + (1 - y) * np.log(1 - clipped)).mean()
assert abs(found["loss"] - loss) < 1e-4, f"expected the binary crossentropy {loss}, received {found}"
assert abs(found["binary_accuracy"] - ((p > 0.5) == (y > 0.5)).mean()) < 1e-6, f"expected binary_accuracy, received {found}"
print(f"{outputs} sigmoids, {found}")
