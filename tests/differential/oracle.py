"""Keras as the oracle of `cargo xtask differential`: makes random models, and loads what engraft wrote.

Each line of standard input is a request in JSON, each line of standard output its answer:

{"make": INDEX, "seed": SEED, "folder": FOLDER}: writes model number INDEX of SEED to FOLDER, with its predictions, gradients and
one step of SGD. {"network": NAME, "file": FILE, "folder": FOLDER}: writes a network of keras.applications to FILE, with its
predictions. {"networks": true}: lists the networks. {"load": FILE}: loads FILE and compares it with the model made last.

{"load_weights": FILE}: loads the `.weights.h5` FILE into the model made last. {"onnx": FILE}: runs FILE in onnxruntime.

With the argument --channels-first, all images have their channels first. Keras runs on PyTorch then, as TensorFlow's CPU kernels
lack this order, and training isn't compared.
"""

import contextlib
import json
import os
import re
import sys
import traceback
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# oneDNN refuses some convolutions, and crashes on others.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
# Keras narrows its summary to the terminal: wide enough for the lines asked for.
os.environ["COLUMNS"] = "204"
CHANNELS_FIRST = "--channels-first" in sys.argv
if CHANNELS_FIRST:
    os.environ["KERAS_BACKEND"] = "torch"
# Answers go to the real standard output. Whatever Keras prints goes to standard error.
answers, sys.stdout = sys.stdout, sys.stderr

import keras  # noqa: E402
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402

if CHANNELS_FIRST:
    keras.config.set_image_data_format("channels_first")
    KERNEL_ERRORS = (RuntimeError, NotImplementedError)
else:
    import tensorflow as tf

    KERNEL_ERRORS = (tf.errors.OpError,)


import applications  # noqa: E402
import pytorch  # noqa: E402
from draw import Draw  # noqa: E402
from models import random_model  # noqa: E402

BATCH = 3
RATE = 0.1


def broadcasting_add(x1, x2):
    """`keras.ops.add` as NumPy and Keras' other backends define it.

    TensorFlow's backend takes an addend such as `[n, 1]` for the bias of whichever axis has n values, the last one or the first after
    the batch: `[batch, n, n, 1] + [n, 1]` adds along the wrong axis.
    """
    dtype = keras.backend.result_type(*(getattr(x, "dtype", type(x)) for x in (x1, x2)))
    return tf.add(*(keras.ops.convert_to_tensor(x, dtype) for x in (x1, x2)))


if CHANNELS_FIRST:
    pytorch.take_types_of_tensorflow()
else:
    keras.src.backend.numpy.add = broadcasting_add


class Unusable(Exception):
    """A model that shows nothing, or that Keras can't save or compute: it isn't compared."""


@contextlib.contextmanager
def float64():
    """Keras computes in float64, also what has no layer's data type, such as a loss."""
    keras.config.set_floatx("float64")
    try:
        yield
    finally:
        keras.config.set_floatx("float32")


def as_float64(model):
    """The same model with the same weights, computed in float64."""
    config = json.dumps(json.loads(model.to_json())).replace('"float32"', '"float64"')
    with float64():
        copy = keras.models.model_from_json(config)
        if not copy.built:
            copy.build(model.input_shape)
    copy.set_weights(model.get_weights())
    return copy


def inputs_of(model, draw):
    rng = np.random.default_rng(draw.integer(0, 2**31 - 1))
    return [rng.uniform(-1, 1, (BATCH, *i.shape[1:])).astype("float32") for i in model.inputs]


def prediction(model, xs, dtype):
    xs = [x.astype(dtype) for x in xs]
    return keras.ops.convert_to_numpy(model(xs if len(xs) > 1 else xs[0], training=False))


def gradients(model, xs, upstream, dtype):
    """Gradients of sum(y * upstream) in training mode with respect to the inputs and the trainable weights."""
    before = model.get_weights()
    xs = [tf.constant(x, dtype) for x in xs]
    with tf.GradientTape() as tape:
        tape.watch(xs)
        y = model(xs if len(xs) > 1 else xs[0], training=True)
        total = tf.reduce_sum(y * tf.constant(upstream, dtype))
    variables = [v.value for v in model.trainable_variables]
    found = tape.gradient(total, [*xs, *variables], unconnected_gradients=tf.UnconnectedGradients.ZERO)
    model.set_weights(before)
    names = [*(f"dx{i}" for i in range(len(xs))), *(f"dw{i}" for i in range(len(variables)))]
    return {name: tf.convert_to_tensor(g).numpy() for name, g in zip(names, found)}


def loss_of(model):
    match model.layers[-1].get_config().get("activation"):
        case "softmax":
            return keras.losses.CategoricalCrossentropy()
        case "sigmoid":
            return keras.losses.BinaryCrossentropy()
    return keras.losses.CategoricalCrossentropy(from_logits=True)


def step(model, xs, target, dtype):
    """All weights after one step of SGD."""
    before = model.get_weights()
    model.compile(keras.optimizers.SGD(RATE), loss_of(model), run_eagerly=True)
    model.train_on_batch([x.astype(dtype) for x in xs] if len(xs) > 1 else xs[0].astype(dtype), target.astype(dtype))
    after = model.get_weights()
    model.set_weights(before)
    return {f"after{i}": a for i, a in enumerate(after)}


def exactly(compute):
    """The result of `compute` in float64; None where there is no such kernel."""
    try:
        with float64():
            return compute()
    except KERNEL_ERRORS:
        return None


def tolerance(single, double):
    """Four times Keras' own distance from float64, plus 1e-5 of the largest value.

    TensorFlow computes some gradients in float32 only (`double` is None): their distance is taken as 2e-5 of the largest value.
    """
    if single.size == 0:
        return 0.0
    if double is None:
        return float(9e-5 * np.abs(single).max())
    return float(4 * np.abs(single - double).max() + 1e-5 * np.abs(double).max())


def open_file(file):
    """The model in a file. Keras finds the layers of its own networks in an `.h5` only if it is told them."""
    return keras.saving.load_model(file, custom_objects=applications.LAYERS)


def lost_axes(model, loaded):
    """Layers that normalize other axes than before. Keras reads a list of several axes in an `.h5` as the default."""
    axes = [{layer.name: getattr(layer, "axis", None) for layer in m.layers} for m in (model, loaded)]
    return [name for name, axis in axes[0].items() if axes[1].get(name, axis) != axis]


def save_and_load(model, folder, draw):
    """A file with the model, and the model that Keras reads from it: `.keras`, sometimes `.h5`."""
    for name in ["model.h5", "model.keras"] if draw.chance(0.3) else ["model.keras"]:
        file = os.path.join(folder, name)
        try:
            model.save(file)
            loaded = open_file(file)
            if lost := lost_axes(model, loaded):
                raise Unusable(f"Keras loses the axes of {lost}")
            return file, loaded
        except Exception as error:  # whatever it is, Keras can't open its own file
            reason = f"{name}: {type(error).__name__}: {error}"
    raise Unusable(f"Keras doesn't open its own {reason[:300]}")


def summary(model):
    lines = []
    options = {"line_length": 200, "expand_nested": True, "show_trainable": True}
    model.summary(print_fn=lambda text, **_: lines.append(text), **options)
    return "\n".join(lines)


class Expected:
    """What Keras computes, with a tolerance for each array."""

    def __init__(self, model, draw, xs):
        self.model, self.double, self.draw, self.xs = model, as_float64(model), draw, xs
        self.arrays = {f"x{i}": x for i, x in enumerate(self.xs)}
        self.tolerances = {}

    def add(self, compute, *arguments):
        """The arrays that `compute` returns for the model."""
        single = compute(self.model, *arguments, "float32")
        double = exactly(lambda: compute(self.double, *arguments, "float64"))
        neighbour, self.has_double = {}, double is not None
        if double is None:
            near = [np.nextafter(x, np.float32(2)) for x in self.xs]
            double, neighbour = {}, compute(self.model, near, *arguments[1:], "float32")
        for name, array in single.items():
            if not np.isfinite(array).all():
                raise Unusable(f"{name} isn't finite")
            if array.size:
                self.arrays[name] = array.reshape(array.shape or 1).astype("float32")
                self.tolerances[name] = tolerance(array, double.get(name))
                if name in neighbour:
                    self.tolerances[name] = max(self.tolerances[name], tolerance(array, neighbour[name]))
        return single

    def predictions(self):
        try:
            y = self.add(lambda model, dtype: {"y": prediction(model, self.xs, dtype)})["y"]
        except KERNEL_ERRORS as error:
            raise Unusable(f"Keras doesn't compute it: {str(error)[:300]}") from error
        if np.ptp(y, axis=0).max() < 1e-3 * np.abs(y).max():
            raise Unusable("the outputs are the same for all inputs")
        return y

    def training(self, y):
        upstream = self.draw.rng.uniform(-1, 1, y.shape).astype("float32")
        target = np.eye(y.shape[-1], dtype="float32")[np.arange(BATCH) % y.shape[-1]]
        self.arrays.update(upstream=upstream, target=target)
        found = self.add(gradients, self.xs, upstream)
        # A gradient that cancels to almost nothing has the rounding errors of its terms, which are as large as other gradients.
        # What TensorFlow has in float32 only, such as antialiased interpolation, has its factors in float32, too.
        factor = 3e-7 if self.has_double else 3e-6
        rounding = float(factor * max(np.abs(array).max(initial=0) for array in found.values()))
        for name in found:
            self.tolerances[name] = max(self.tolerances.get(name, 0.0), rounding)
        self.check_repeats(found, gradients(self.model, self.xs, upstream, "float32"))
        if self.model.trainable_variables:
            self.add(step, self.xs, target)

    def check_repeats(self, first, second):
        """Refuses a model whose gradients Keras computes otherwise each time: some kernels of TensorFlow read memory that nothing set."""
        for name, array in second.items():
            if not np.abs(array - first[name]).max(initial=0) <= self.tolerances.get(name, 0.0):
                raise Unusable(f"Keras computes {name} otherwise each time")


class Oracle:
    def __init__(self):
        self.model = self.xs = self.y = self.file = None

    def make(self, seed, index, folder):
        model, draw, trained = random_model(seed, index, CHANNELS_FIRST)
        if CHANNELS_FIRST and (reason := pytorch.reason(model)):
            raise Unusable(reason)
        # What Keras reads from its file is the reference: Keras loses a few things when it saves.
        self.file, self.model = save_and_load(model, folder, draw)
        return self.answer(draw, inputs_of(self.model, draw), trained, folder)

    def network(self, name, file, folder):
        keras.backend.clear_session()
        draw = Draw(*name.encode())
        keras.utils.set_random_seed(1)
        model = applications.network(name)
        x = applications.pixels(draw, model)
        applications.settle(model, draw, x)
        model.save(file)
        model.save_weights(os.path.join(folder, "model.weights.h5"))
        self.file, self.model, unopened = file, model, None
        try:
            self.model = open_file(file)
        except Exception as error:  # Keras writes some networks as `.h5` that it can't open again
            unopened = f"{type(error).__name__}: {error}"[:300]
        answer = self.answer(draw, [x], False, folder)
        keras.backend.clear_session()
        bare = applications.network(name, include_top=False, pooling="avg")
        return {**answer, "unopened": unopened, "without_top": summary(bare)}

    def answer(self, draw, xs, trained, folder):
        text = summary(self.model)
        expected = Expected(self.model, draw, xs)
        self.xs, self.y = xs, expected.predictions()
        if trained:
            expected.training(self.y)
        np.savez(os.path.join(folder, "arrays.npz"), **expected.arrays)
        return {
            "file": self.file,
            "trained": trained,
            "summary": text,
            "tolerances": expected.tolerances,
            # Keras numbers variables without a name.
            "weights": [re.sub(r"^variable_\d+$", "variable", v.path.rsplit("/", 1)[-1]) for v in self.model.weights],
            "trainable": len(self.model.trainable_variables),
            "loss": self.model.layers[-1].get_config().get("activation") or "linear",
        }

    def load_weights(self, file):
        before = self.model.get_weights()
        self.model.set_weights([np.zeros_like(weight) for weight in before])
        self.model.load_weights(file)
        same = all(np.array_equal(a, b) for a, b in zip(self.model.get_weights(), before))
        self.model.set_weights(before)
        return same

    def onnx(self, file):
        """The largest difference between onnxruntime's outputs for an ONNX file and Keras'."""
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        inputs = {i.name: x for i, x in zip(session.get_inputs(), self.xs)}
        return float(np.abs(session.run(None, inputs)[0] - self.y).max())

    def load(self, file):
        with warnings.catch_warnings(record=True) as expected:
            warnings.simplefilter("always")
            open_file(self.file)
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            model = open_file(file)
        known = {str(w.message) for w in expected}
        new = [str(w.message) for w in found if str(w.message) not in known]
        ours, theirs = model.get_weights(), self.model.get_weights()
        same = len(ours) == len(theirs) and all(np.array_equal(a, b) for a, b in zip(ours, theirs))
        difference = float(np.abs(prediction(model, self.xs, "float32") - self.y).max())
        trainable = len(model.trainable_variables) == len(self.model.trainable_variables)
        return {"warnings": new, "same_weights": same, "same_trainable": trainable, "difference": difference}


def main():
    oracle = Oracle()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            match request:
                case {"make": index, "seed": seed, "folder": folder}:
                    answer = oracle.make(seed, index, folder)
                case {"network": name, "file": file, "folder": folder}:
                    answer = oracle.network(name, file, folder)
                case {"networks": _}:
                    answer = applications.names()
                case {"load_weights": file}:
                    answer = oracle.load_weights(file)
                case {"onnx": file}:
                    answer = oracle.onnx(file)
                case {"load": file}:
                    answer = oracle.load(file)
        except Unusable as reason:
            answer = {"unusable": str(reason)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
