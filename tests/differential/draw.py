"""Random choices: sizes, options and weights, all from one generator, so that a seed gives one model."""

import numpy as np


class Draw:
    """A random generator with the choices that random models need."""

    def __init__(self, *seed):
        self.rng = np.random.default_rng(list(seed))

    def chance(self, probability):
        return bool(self.rng.random() < probability)

    def one(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def integer(self, low, high):
        """An integer from `low` to `high`, both included."""
        return int(self.rng.integers(low, high + 1))

    def number(self, low, high):
        return float(np.round(self.rng.uniform(low, high), 3))

    def numbers(self, low, high, *shape):
        return np.round(self.rng.uniform(low, high, shape), 3)

    def divisor(self, n):
        return self.one(*[d for d in range(1, n + 1) if n % d == 0])

    def size2d(self, low, high):
        """A height and a width: one integer for both, or a pair."""
        return self.integer(low, high) if self.chance(0.6) else (self.integer(low, high), self.integer(low, high))

    def options(self, **choices):
        """Options of a layer: each is left at its default half of the time, else drawn from its list or by its function."""
        chosen = {}
        for name, values in choices.items():
            if self.chance(0.5):
                chosen[name] = values() if callable(values) else self.one(*values)
        return chosen


def settle(model, draw):
    """Gives every weight a value of its own: a wrong layer or a wrong order of weights changes the predictions."""
    for variable in model.variables:
        name, shape = variable.path.rsplit("/", 1)[-1], tuple(variable.shape)
        if "seed" in name or not np.issubdtype(np.dtype(variable.dtype), np.floating):
            continue
        normal, uniform = draw.rng.normal, draw.rng.uniform
        if name in ("gamma", "scale", "moving_variance", "variance"):
            value = uniform(0.7, 1.3, shape)
        elif name in ("bias", "beta", "moving_mean", "mean") or len(shape) < 2:
            value = normal(0, 0.2, shape)
        else:
            # The variance of the outputs stays near that of the inputs.
            fan_in = int(np.prod(shape[:-1])) if len(shape) < 4 or shape[-1] > 1 else int(np.prod(shape[:2]))
            value = normal(0, 1 / np.sqrt(max(fan_in, 1)), shape)
        variable.assign(value.astype("float32"))
