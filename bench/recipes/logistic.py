"""scikit-learn's logistic regression on the features of EfficientNet-Lite0.

The features are the averages of the last layer at 224 px. They are standardised. C is chosen by the log loss of a 5-fold
cross-validation within the training set.
"""

import task  # first: its import starts the clock

import subprocess
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import base
from task import Probabilities, Task

GRID = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0]


def train(job: Task):
    x, y = features(job, job.training), [job.label(photo) for photo in job.training]
    folds = StratifiedKFold(5, shuffle=True, random_state=job.seed)
    logistic = LogisticRegressionCV(
        Cs=GRID, cv=folds, scoring="neg_log_loss", l1_ratios=[0.0], max_iter=5000, use_legacy_attributes=False
    )
    classifier = make_pipeline(StandardScaler(), logistic)
    # One thread is fastest: threads would wait for each other longer than these small matrices take.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        classifier.fit(x, y)
    print("C", logistic.C_)

    def predict() -> Probabilities:
        return classifier.predict_proba(features(job, job.held_out)).tolist()

    return predict


def features(job: Task, photos: list[str]) -> np.ndarray:
    file = task.WORK / f"features-{job.set}-{job.split}.npy"
    command = [task.ENGRAFT, "features", base.path(), *photos, "--layer", base.FEATURES, "--output", file]
    subprocess.run(command, cwd=job.folder, check=True, stdout=subprocess.DEVNULL)
    found = np.load(file).astype(np.float64)
    file.unlink()
    return found


if __name__ == "__main__":
    task.run("logistic", train, task.versions_of("scikit-learn", "numpy", "scipy"))
