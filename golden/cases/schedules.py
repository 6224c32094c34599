"""Learning rates by iteration, and model files whose optimizer has a schedule."""

import keras
import numpy as np
from keras import layers as L
from keras.optimizers import schedules as S

import store

# Every case has these iterations, FAR, and the iterations before, at and after each change of the schedule.
FIRST = [0, 1, 2]
FAR = 1000
# The model files are compiled with this case's schedule.
SAVED = "cosine_decay_warmup"


def schedules():
    """Name, schedule, and the iterations at which the schedule changes."""
    yield "exponential_decay", S.ExponentialDecay(0.1, 10, 0.96), [10]
    yield "exponential_decay_staircase", S.ExponentialDecay(0.1, 10, 0.5, staircase=True), [10, 20, 30]
    yield "exponential_decay_growing", S.ExponentialDecay(1e-6, 500, 10.0, name="range_test"), [500]
    yield "piecewise_constant_decay", S.PiecewiseConstantDecay([100, 110], [1.0, 0.5, 0.1]), [100, 110]
    yield "piecewise_constant_decay_one", S.PiecewiseConstantDecay([7], [1e-3, 1e-2]), [7]
    yield "polynomial_decay", S.PolynomialDecay(0.1, 20), [20]
    yield "polynomial_decay_power", S.PolynomialDecay(0.1, 20, end_learning_rate=0.01, power=0.5), [20]
    yield "polynomial_decay_growing", S.PolynomialDecay(0.01, 20, end_learning_rate=0.1, power=2.0), [20]
    yield "polynomial_decay_cycle", S.PolynomialDecay(0.1, 20, 0.01, power=2.0, cycle=True), [20, 40, 60]
    yield "inverse_time_decay", S.InverseTimeDecay(0.1, 10, 0.5), [10]
    yield "inverse_time_decay_staircase", S.InverseTimeDecay(0.1, 10, 0.5, staircase=True), [10, 20]
    yield "cosine_decay", S.CosineDecay(1e-3, 20), [10, 20]
    yield "cosine_decay_alpha", S.CosineDecay(1e-3, 20, alpha=0.1), [10, 20]
    yield "cosine_decay_warmup", S.CosineDecay(0.0, 20, warmup_target=0.1, warmup_steps=5), [5, 15, 25]
    yield "cosine_decay_warmup_alpha", S.CosineDecay(0.01, 20, 0.2, warmup_target=0.1, warmup_steps=5), [5, 25]
    yield "cosine_decay_warmup_target_alone", S.CosineDecay(0.01, 20, warmup_target=0.1), [20]
    yield "cosine_decay_warmup_steps_alone", S.CosineDecay(0.01, 20, warmup_steps=5), [5, 20, 25]
    yield "cosine_decay_restarts", S.CosineDecayRestarts(0.1, 10), [10, 30, 70, 150]
    yield "cosine_decay_restarts_equal", S.CosineDecayRestarts(0.1, 10, t_mul=1.0, m_mul=0.5), [10, 20, 30]
    yield "cosine_decay_restarts_options", S.CosineDecayRestarts(0.1, 10, 3.0, 0.8, alpha=0.1), [10, 40, 130]
    yield "cosine_decay_restarts_fraction", S.CosineDecayRestarts(0.1, 10, t_mul=1.5, m_mul=0.9), [10, 25]


def around(edges):
    return sorted({*FIRST, *(edge + offset for edge in edges for offset in [-1, 0, 1]), FAR})


def save(directory, name, schedule):
    """Saves a small model after two training steps with the schedule. Returns the file names."""
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, activation="softmax", name="dense")], name="model")
    model.compile(keras.optimizers.Adam(schedule), "categorical_crossentropy")
    x = store.generator(name).standard_normal((6, 4)).astype("float32")
    model.fit(x, np.eye(3, dtype="float32")[[0, 1, 2, 2, 1, 0]], batch_size=3, shuffle=False, verbose=0)
    files = [f"{name}.keras", f"{name}.h5"]
    with store.reproducible_saving():
        for file in files:
            model.save(directory / file)
    return files


def write(directory):
    entries = []
    for name, schedule, edges in schedules():
        iterations = around(edges)
        case = store.Case()
        entry = {
            "case": name,
            "schedule": store.serialize(schedule),
            "iterations": iterations,
            "rates": case.put("rates", [float(schedule(np.int64(iteration))) for iteration in iterations]),
            "files": save(directory, name, schedule) if name == SAVED else [],
        }
        store.write_npz(directory / f"{name}.npz", case)
        entries.append(entry)
    store.write_index(directory, entries)
