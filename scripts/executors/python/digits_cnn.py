"""A small convolutional network with batch normalization on the digits of the demo, for `train_torch.py digits_cnn:model`.

`evaluate_torch.py digits_cnn:model` evaluates it.
"""

from typing import Dict, List, Tuple

import numpy as np
import torch
from torch import nn
from train_numpy import Row, read_rows

__all__ = ["loss", "metrics", "model", "read_rows"]


def model() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def loss(network: nn.Module, rows: List[Row], device: torch.device) -> torch.Tensor:
    images, labels = _tensors(rows, device)
    return nn.functional.cross_entropy(network(images), labels)


def metrics(network: nn.Module, rows: List[Row], device: torch.device) -> Dict[str, float]:
    images, labels = _tensors(rows, device)
    scores = network(images)
    right = (scores.argmax(dim=1) == labels).float().mean()
    return {"accuracy": right.item(), "loss": nn.functional.cross_entropy(scores, labels).item()}


def _tensors(rows: List[Row], device: torch.device) -> Tuple[torch.Tensor, torch.Tensor]:
    images = torch.from_numpy(np.stack([pixels for pixels, _ in rows])).reshape(-1, 1, 8, 8).to(device)
    return images, torch.tensor([label for _, label in rows], device=device)
