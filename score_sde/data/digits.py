"""The handwritten digits of scikit-learn."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits

from sde_lib import Images

__all__ = ["Digits"]


class Digits:
    """1,797 images of 8x8 pixels with 17 grey levels. The last 360 in the order of the file are the test set.

    train and test are uint8, (1437, 1, 8, 8) and (360, 1, 8, 8). With classes=True, train_y and test_y are the digits, 0 to 9.

    Reference: Alpaydin and Kaynak, 1998, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository.

    >>> Digits().test.shape
    torch.Size([360, 1, 8, 8])
    """

    def __init__(self, classes: bool = False) -> None:
        content = load_digits()
        images = torch.from_numpy(content.images).to(torch.uint8)[:, None]
        self.train, self.test = images[:-360], images[-360:]
        self.transform = Images(levels=17)
        if classes:
            y = torch.from_numpy(content.target)
            self.train_y, self.test_y = y[:-360], y[-360:]
