"""Features of digits: the hidden layer of a small classifier, which is trained in seconds."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from torch import Tensor

__all__ = ["DigitFeatures"]


class DigitFeatures:
    """32 features of 8x8 digits: the last hidden layer of a classifier of the training digits, with a fixed seed.

    accuracy is the classifier's accuracy on the test digits. Distances between features compare models of these digits with each
    other, and cannot be compared with published numbers.

    >>> DigitFeatures().accuracy > 0.85
    True
    """

    def __init__(self, test: int = 360) -> None:
        digits = load_digits()
        x, y = digits.data / 16, digits.target
        self.classifier = MLPClassifier((64, 32), max_iter=60, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.classifier.fit(x[:-test], y[:-test])
        self.accuracy = float(self.classifier.score(x[-test:], y[-test:]))

    def __call__(self, codes: Tensor) -> np.ndarray:
        """The features (N, 32) of integer images 0..16, (N, 1, 8, 8)."""
        h = codes.flatten(1).double().numpy() / 16
        for weights, bias in list(zip(self.classifier.coefs_, self.classifier.intercepts_, strict=True))[:-1]:
            h = np.maximum(h @ weights + bias, 0)
        return h
