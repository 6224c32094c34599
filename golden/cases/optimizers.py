"""The values of a variable after each of five optimizer steps with fixed gradients."""

import keras
import numpy as np
import tensorflow as tf
from keras import constraints as C
from keras import optimizers as O
from keras import regularizers as R
from keras.optimizers import schedules as S

import store

STEPS = 5


def plain():
    yield "sgd", O.SGD(0.1), None
    yield "sgd_momentum", O.SGD(0.1, momentum=0.9), None
    yield "sgd_nesterov", O.SGD(0.1, momentum=0.9, nesterov=True), None
    yield "sgd_weight_decay", O.SGD(0.1, weight_decay=0.04), None
    yield "sgd_nesterov_weight_decay", O.SGD(0.05, momentum=0.8, nesterov=True, weight_decay=0.04), None
    yield "adam", O.Adam(), None
    yield "adam_options", O.Adam(0.01, beta_1=0.8, beta_2=0.95, epsilon=1e-3), None
    yield "adam_weight_decay", O.Adam(0.01, weight_decay=0.04), None
    yield "adamw", O.AdamW(), None
    yield "adamw_options", O.AdamW(0.02, weight_decay=0.1, beta_1=0.85), None
    yield "rmsprop", O.RMSprop(), None
    yield "rmsprop_rho", O.RMSprop(0.01, rho=0.7, epsilon=1e-3), None
    yield "rmsprop_momentum", O.RMSprop(0.01, momentum=0.9), None
    yield "rmsprop_centered", O.RMSprop(0.01, centered=True), None
    yield "rmsprop_centered_momentum", O.RMSprop(0.01, momentum=0.5, centered=True), None
    yield "rmsprop_weight_decay", O.RMSprop(0.01, weight_decay=0.04), None


def regularized():
    yield "sgd_l1", O.SGD(0.1), R.L1(0.02)
    yield "sgd_l2", O.SGD(0.1, momentum=0.9), R.L2(0.05)
    yield "adam_l1_l2", O.Adam(0.01), R.L1L2(0.02, 0.05)
    yield "sgd_orthogonal_rows", O.SGD(0.1), R.OrthogonalRegularizer(0.2, "rows")
    yield "adam_orthogonal_columns", O.Adam(0.01), R.OrthogonalRegularizer(0.3, "columns")


def scheduled():
    warmup = S.CosineDecay(0.0, 3, warmup_target=0.1, warmup_steps=2)
    yield "sgd_cosine_decay", O.SGD(warmup, momentum=0.9, nesterov=True), None
    yield "adamw_exponential_decay", O.AdamW(S.ExponentialDecay(0.02, 2, 0.5, staircase=True), weight_decay=0.1), None
    yield "rmsprop_piecewise", O.RMSprop(S.PiecewiseConstantDecay([1, 3], [0.1, 0.01, 0.001])), None


def constrained():
    yield "sgd_max_norm", O.SGD(0.1), None, C.MaxNorm(1.5)
    yield "adam_max_norm_rows", O.Adam(0.05), R.L2(0.05), C.MaxNorm(0.5, axis=1)
    yield "sgd_non_neg", O.SGD(0.1, momentum=0.9), None, C.NonNeg()
    yield "rmsprop_unit_norm", O.RMSprop(0.01), None, C.UnitNorm(axis=-2)
    yield "sgd_unit_norm_all", O.SGD(0.1), None, C.UnitNorm(axis=[0, 1])
    yield "adam_min_max_norm", O.Adam(0.05), None, C.MinMaxNorm(0.5, 1.2, rate=0.3)


def run(name, optimizer, regularizer, constraint=None):
    optimizer.name = name
    random = store.generator(name)
    initial = random.standard_normal((4, 5)).astype("float32")
    layer = keras.layers.Dense(5, use_bias=False, kernel_regularizer=regularizer, kernel_constraint=constraint)
    layer.build((None, 4))
    layer.set_weights([initial])

    case = store.Case()
    case.put("v0", initial)
    penalties = []
    for step in range(STEPS):
        gradient = random.standard_normal((4, 5)) * 10.0 ** random.integers(-4, 1, (4, 5))
        gradient[0, step] = 0.0
        case.put(f"g{step}", gradient)
        with tf.GradientTape() as tape:
            penalty = tf.add_n(layer.losses) if regularizer else tf.constant(0.0)
            loss = penalty + tf.reduce_sum(layer.kernel * case[f"g{step}"])
        optimizer.apply([tape.gradient(loss, layer.kernel.value)], [layer.kernel])
        penalties.append(float(penalty))
        case.put(f"v{step + 1}", layer.kernel)
    entry = {
        "case": name,
        "optimizer": store.serialize(optimizer),
        "regularizer": store.serialize(regularizer) if regularizer else None,
        "constraint": store.serialize(constraint) if constraint else None,
        "initial": "v0",
        "gradients": [f"g{step}" for step in range(STEPS)],
        "after": [f"v{step + 1}" for step in range(STEPS)],
        "penalties": case.put("penalties", np.array(penalties)),
    }
    return entry, case


def write(directory):
    entries = []
    for cases in [plain, regularized, scheduled, constrained]:
        for name, *options in cases():
            entry, case = run(name, *options)
            store.write_npz(directory / f"{name}.npz", case)
            entries.append(entry)
    store.write_index(directory, entries)
