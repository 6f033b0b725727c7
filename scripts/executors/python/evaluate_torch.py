"""Evaluates a `torch.nn.Module` for a scheduler (class `evaluate`), the one that `train_torch.py` trains.

    evaluate_torch.py MODULE:FUNCTION [--device auto|cpu|cuda] [--threads N]

The file of `FUNCTION` defines `read_rows(path)`, the rows of a file, and `metrics(model, rows, device)`, a dictionary of numbers.
`digits_cnn.py` is an example. The parameters are loaded as in training; the model is in evaluation mode.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from hypha_executor import ExecutorError, load
from train_torch import clamp_variances, device_of, load_arrays, options_of, task_of


def main() -> None:
    options = options_of("Evaluates a torch module on held-out rows.")
    task, model = task_of(options)
    folder = Path(os.environ.get("WORK_DIR", "."))
    device = device_of(options)
    model.to(device)
    load_arrays(model, load(folder / "parameters.safetensors").arrays)
    clamp_variances(model)
    model.eval()
    rows = [row for path in sorted((folder / "held_out").iterdir()) for row in task.read_rows(path)]
    with torch.no_grad():
        metrics = task.metrics(model, rows, device)
    (folder / "result.json").write_text(json.dumps({"metrics": metrics}), "utf-8")


if __name__ == "__main__":
    # As process 1 of a namespace a signal without a handler would be ignored.
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    try:
        main()
    except (ExecutorError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
