"""Trains the digits perceptron of the demo with numpy: a softmax classifier with ReLU between its layers.

The layout is that of the TypeScript trainer: `layers.<i>.weight` (out × in) and `layers.<i>.bias`, 64 pixels in, 10 digits out. The
model is the file that the scheduler serves, or `builtin/mlp-64-32-10` at `seed-7`, which both trainers build alike.
"""

import re
from pathlib import Path
from typing import Dict, List, Mapping, Tuple

import numpy as np
import numpy.typing as npt
from hypha_executor import Job, JobFailed, difference, run
from learning_rate import learning_rate_factor, steps_before

Floats = npt.NDArray[np.float32]
Row = Tuple[Floats, int]
PIXELS, PIXEL_MAX, CLASSES, LAYERS_MAX, HIDDEN_MAX = 64, 16, 10, 8, 4096


def read_rows(path: Path) -> List[Row]:
    """The rows of a slice: 64 whole numbers from 0 to 16 and the digit, separated by commas."""
    rows: List[Row] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.strip() == "":
            continue
        values = [int(value) if value.strip().isdigit() else -1 for value in line.split(",")]
        limits = [PIXEL_MAX] * PIXELS + [CLASSES - 1]
        if len(values) != len(limits) or any(not 0 <= value <= most for value, most in zip(values, limits)):
            raise JobFailed(f"Cannot read {path.name}, line {number}: expected 64 pixels from 0 to 16 and a digit")
        rows.append(((np.array(values[:PIXELS]) / PIXEL_MAX).astype(np.float32), values[PIXELS]))
    return rows


def builtin_model(repository: str, revision: str) -> Dict[str, Floats]:
    """The initial parameters that a name and a seed mean, the same as the TypeScript trainer's (Glorot and Bengio 2010)."""
    named = re.fullmatch(r"builtin/mlp((?:-\d{1,4})+)", repository)
    seeded = re.fullmatch(r"seed-(\d{1,9})", revision)
    sizes = [int(size) for size in named[1].split("-")[1:]] if named else []
    right = len(sizes) >= 2 and sizes[0] == PIXELS and sizes[-1] == CLASSES
    if seeded is None or not right or len(sizes) > LAYERS_MAX + 1 or not all(1 <= size <= HIDDEN_MAX for size in sizes):
        raise JobFailed(f'Cannot build {repository} at {revision}: expected "builtin/mlp-64-32-10" at "seed-7", or weights')
    draw = Mulberry32(int(seeded[1]))
    parameters: Dict[str, Floats] = {}
    for layer, (inputs, outputs) in enumerate(zip(sizes, sizes[1:])):
        limit = np.sqrt(6 / (inputs + outputs))
        drawn = [(draw.next() * 2 - 1) * limit for _ in range(outputs * inputs)]
        parameters[f"layers.{layer}.weight"] = np.array(drawn, np.float32).reshape(outputs, inputs)
        parameters[f"layers.{layer}.bias"] = np.zeros(outputs, np.float32)
    return parameters


class Mulberry32:
    """Draws evenly from [0, 1): the series of `seededRandom` in the TypeScript tree."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def next(self) -> float:
        self._state = (self._state + 0x6D2B79F5) & 0xFFFFFFFF
        mixed = (self._state ^ (self._state >> 15)) * (1 | self._state) & 0xFFFFFFFF
        mixed ^= (mixed + ((mixed ^ (mixed >> 7)) * (61 | mixed) & 0xFFFFFFFF)) & 0xFFFFFFFF
        return (mixed ^ (mixed >> 14)) / 4_294_967_296


def layer_count(parameters: Mapping[str, Floats]) -> int:
    """The number of layers; fails unless the parameters are a perceptron's."""
    layers, inputs = len(parameters) // 2, PIXELS
    for layer in range(layers):
        weight, bias = parameters.get(f"layers.{layer}.weight"), parameters.get(f"layers.{layer}.bias")
        if weight is None or bias is None or weight.ndim != 2 or weight.shape != (len(bias), inputs):
            raise JobFailed(f"Cannot train this model: layer {layer} is no layer of {inputs} inputs with weight and bias")
        inputs = len(bias)
    if inputs != CLASSES or len(parameters) != 2 * layers:
        raise JobFailed(f"Cannot train this model: {len(parameters)} tensors that lead to {inputs} classes, not {CLASSES}")
    return layers


def gradient(parameters: Mapping[str, Floats], batch: List[Row]) -> Tuple[float, Dict[str, Floats]]:
    """The mean cross-entropy of a batch, and its gradient."""
    last = layer_count(parameters) - 1
    outputs = [np.stack([pixels for pixels, _ in batch])]
    labels = np.array([label for _, label in batch])
    for layer in range(last + 1):
        scores = outputs[-1] @ parameters[f"layers.{layer}.weight"].T + parameters[f"layers.{layer}.bias"]
        outputs.append(np.maximum(scores, 0) if layer < last else scores)
    powers = np.exp(outputs[-1] - outputs[-1].max(axis=1, keepdims=True))
    error = powers / powers.sum(axis=1, keepdims=True)
    rows = np.arange(len(batch))
    loss = float(-np.log(np.maximum(error[rows, labels], np.finfo(np.float32).tiny)).mean())
    error[rows, labels] -= 1
    error /= len(batch)
    gradients: Dict[str, Floats] = {}
    for layer in range(last, -1, -1):
        gradients[f"layers.{layer}.weight"] = error.T @ outputs[layer]
        gradients[f"layers.{layer}.bias"] = error.sum(axis=0)
        error = (error @ parameters[f"layers.{layer}.weight"]) * (outputs[layer] > 0)
    return loss, gradients


class Adam:
    """Kingma and Ba 2015, algorithm 1. Its state stays across rounds."""

    def __init__(self, options: Mapping[str, object]) -> None:
        self._rate = float(str(options["learning-rate"]))
        self._betas: List[float] = list(options.get("betas") or (0.9, 0.999))  # type: ignore[call-overload]
        self._epsilon = float(str(options.get("epsilon") or 1e-8))
        self._moments: Dict[str, Tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = {}
        self._steps = 0

    def step(self, parameters: Dict[str, Floats], gradients: Mapping[str, Floats], factor: float) -> None:
        """One step against the gradient, in place."""
        self._steps += 1
        one, two = self._betas
        for name, slope in gradients.items():
            first, second = self._moments.get(name, (np.zeros(slope.shape), np.zeros(slope.shape)))
            first = one * first + (1 - one) * slope
            second = two * second + (1 - two) * np.square(slope, dtype=np.float64)
            self._moments[name] = first, second
            mean, square = first / (1 - one**self._steps), second / (1 - two**self._steps)
            stepped = parameters[name] - self._rate * factor * mean / (np.sqrt(square) + self._epsilon)
            parameters[name] = stepped.astype(np.float32)


def train(job: Job) -> None:
    artifact = job.config["model"]["artifact"]
    if artifact["type"] == "huggingface" and artifact["repository"].startswith("builtin/"):
        job.parameters = builtin_model(artifact["repository"], artifact["revision"] or "seed-0")
    adam = Adam(job.config["optimizer"])
    schedule = job.config.get("scheduler")
    step = steps_before(schedule, job.training, job.batch_size)
    while not job.done:
        before = dict(job.parameters)
        after = dict(before)
        losses: List[float] = []
        for batch in job.batches(read_rows):
            loss, gradients = gradient(after, batch)
            adam.step(after, gradients, learning_rate_factor(schedule, step))
            job.loss(loss)
            losses.append(loss)
            step += 1
        round_ = job.round
        job.push(difference(after, before))
        print(f"round {round_}: mean loss {np.mean(losses):.4f}, parameters {job.digest()}", flush=True)


if __name__ == "__main__":
    run(train)
