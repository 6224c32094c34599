"""keras_resumes.py X.npy Y.npy [MODEL LOSSES.npy OPTIMIZER]...: Keras resumes the training of each MODEL with engraft's LOSSES.

OPTIMIZER is the serialized optimizer that Keras must find in MODEL.
"""

import json
import sys

import keras
import numpy as np

x, y, *files = sys.argv[1:]
x, y = np.load(x), np.load(y)
for model_file, losses, config in zip(files[::3], files[1::3], files[2::3], strict=True):
    model, expected = keras.saving.load_model(model_file), np.load(losses)
    optimizer = model.optimizer.get_config()
    config = keras.optimizers.deserialize(json.loads(config)).get_config()
    assert optimizer == config, f"expected {config}, received {optimizer}"
    assert int(model.optimizer.iterations) > 0, f"{optimizer}: expected the iterations of the file, received 0"
    history = model.fit(x, y, batch_size=len(x), epochs=len(expected), shuffle=False, verbose=0)
    found = np.array(history.history["loss"])
    # The tolerance covers other orders of summation, accumulated over the steps.
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-6), f"{optimizer}: expected losses {expected}, received {found}"
    print(np.abs(found - expected).max())
