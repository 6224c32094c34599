"""Linear classifiers by scikit-learn: logistic regression and ridge regression on standardized features."""

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.utils.class_weight import compute_sample_weight

import store

# Far below the precision of f32.
EXACT = {"solver": "newton-cholesky", "tol": 1e-13, "max_iter": 1000}


def features(name, samples, dim, classes):
    """Overlapping classes of different sizes; features of different scales, one of them constant."""
    random = store.generator(name)
    labels = np.minimum(np.arange(samples) % (classes + 1), classes - 1)
    x = random.standard_normal((samples, dim)) + (labels[:, None] % 3 == np.arange(dim) % 3)
    x = x * np.geomspace(0.01, 100, dim) + np.linspace(-1, 1, dim)
    x[:, dim // 2] = 0.1
    return x.astype("float32").astype("float64"), labels


def standardized(x, weights):
    mean = np.average(x, axis=0, weights=weights)
    scale = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weights))
    scale = np.where(scale > 1e-6 * np.abs(mean), scale, 1.0)  # a constant feature keeps its scale
    return (x - mean) / scale, (mean, scale)


def raw(kernel, bias, moments):
    """Kernel `[dim, classes]` and bias for features that aren't standardized."""
    mean, scale = moments
    kernel = kernel / scale[:, None]
    return kernel, bias - mean @ kernel


def softmax(name, samples, dim, classes, penalty, balanced):
    x, labels = features(name, samples, dim, classes)
    weights = compute_sample_weight("balanced", labels) if balanced else np.ones(samples)
    z, moments = standardized(x, weights)
    # scikit-learn minimises the sum of losses times C, plus half the squared norm.
    model = LogisticRegression(C=1 / (samples * penalty), **EXACT).fit(z, labels, sample_weight=weights)
    kernel, bias = raw(model.coef_.T, model.intercept_, moments)
    case = store.Case()
    entry = {"case": name, "kind": "softmax", "penalty": penalty, "balanced": balanced}
    entry |= {"x": case.put("x", x), "labels": case.put("labels", labels)}
    entry |= {"kernel": case.put("kernel", kernel), "bias": case.put("bias", bias)}
    return entry, case


def sigmoid(name, samples, dim, penalty, balanced):
    x, labels = features(name, samples, dim, 4)
    bits = np.stack([labels == 1, labels >= 2, (labels == 3) ^ (x[:, 0] > 0)], axis=1)
    z, moments = standardized(x, np.ones(samples))
    kernels, biases = [], []
    for column in bits.T:
        model = LogisticRegression(C=1 / (samples * penalty), class_weight="balanced" if balanced else None, **EXACT)
        model.fit(z, column)
        kernels.append(model.coef_[0])
        biases.append(model.intercept_[0])
    kernel, bias = raw(np.stack(kernels, axis=1), np.array(biases), moments)
    case = store.Case()
    entry = {"case": name, "kind": "sigmoid", "penalty": penalty, "balanced": balanced}
    entry |= {"x": case.put("x", x), "labels": case.put("labels", bits.astype("int64"))}
    entry |= {"kernel": case.put("kernel", kernel), "bias": case.put("bias", bias)}
    return entry, case


def ridge(name, samples, dim, classes):
    x, labels = features(name, samples, dim, classes)
    z, moments = standardized(x, np.ones(samples))
    targets = 2.0 * np.eye(classes)[labels] - 1.0
    lambdas = dim * np.geomspace(0.01, 30, 7)
    model = RidgeCV(alphas=lambdas, store_cv_results=True).fit(z, targets)
    kernel, bias = raw(model.coef_.T, model.intercept_, moments)
    case = store.Case()
    entry = {"case": name, "kind": "ridge", "lambdas": lambdas.tolist(), "chosen": float(model.alpha_)}
    entry |= {"x": case.put("x", x), "labels": case.put("labels", labels)}
    entry |= {"errors": case.put("errors", model.cv_results_.mean(axis=(0, 1)))}
    entry |= {"kernel": case.put("kernel", kernel), "bias": case.put("bias", bias)}
    return entry, case


def write(directory):
    cases = [
        softmax("softmax", 60, 9, 4, 0.02, False),
        softmax("softmax_balanced", 60, 9, 4, 0.02, True),
        softmax("softmax_more_features", 25, 40, 3, 0.1, False),
        softmax("softmax_more_features_balanced", 25, 40, 3, 0.1, True),
        sigmoid("sigmoid", 60, 9, 0.02, False),
        sigmoid("sigmoid_balanced", 60, 9, 0.02, True),
        ridge("ridge", 60, 9, 4),
        ridge("ridge_more_features", 25, 40, 3),
    ]
    for entry, case in cases:
        store.write_npz(directory / f"{entry['case']}.npz", case)
    store.write_index(directory, [entry for entry, _ in cases])
