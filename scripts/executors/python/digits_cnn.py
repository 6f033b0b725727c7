"""A small convolutional network with batch normalization on the digits of the demo, for `train_torch.py digits_cnn:model`."""

from typing import List

import numpy as np
import torch
from torch import nn
from train_numpy import Row, read_rows

__all__ = ["loss", "model", "read_rows"]


def model() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def loss(network: nn.Module, rows: List[Row], device: torch.device) -> torch.Tensor:
    images = torch.from_numpy(np.stack([pixels for pixels, _ in rows])).reshape(-1, 1, 8, 8).to(device)
    labels = torch.tensor([label for _, label in rows], device=device)
    return nn.functional.cross_entropy(network(images), labels)
