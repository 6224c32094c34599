"""keras_goes_on.py MODEL X.npy Y.npy LOSSES.npy: from where MODEL's training stopped, Keras' losses are ours."""

import sys

import keras
import numpy as np

model_file, x, y, losses = sys.argv[1:]
model = keras.saving.load_model(model_file)
assert int(model.optimizer.iterations) > 0, "the optimizer starts afresh"
x, y, expected = np.load(x), np.load(y), np.load(losses)
history = model.fit(x, y, batch_size=len(x), epochs=len(expected), shuffle=False, verbose=0)
found = np.array(history.history["loss"])
# The same sums in another order, step after step.
assert np.allclose(found, expected, rtol=1e-4, atol=1e-6), f"{model_file}: {found} and not {expected}"
