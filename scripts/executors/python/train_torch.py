"""Trains any `torch.nn.Module` by DiLoCo (Douillard et al. 2023): AdamW inside, the network's outer step outside.

    train_torch.py MODULE:FUNCTION [--device auto|cpu|cuda] [--threads N] [--weight-decay X] [--clip-norm X]
    train_torch.py MODULE:FUNCTION --write-weights init.safetensors

`FUNCTION()` gives the module. Its file defines two more functions: `read_rows(path)`, the rows of a slice, and
`loss(model, rows, device)`, a scalar tensor. `digits_cnn.py` is an example. The second form writes the initial weights, for
`[scheduler.job.model] weights`. MODULE is looked for beside this file and on PYTHONPATH.
"""

import argparse
import importlib
from typing import Any, Dict, Mapping, Tuple

import numpy as np
import numpy.typing as npt
import torch
from hypha_executor import Job, JobFailed, difference, run, save
from learning_rate import learning_rate_factor, steps_before

Arrays = Dict[str, npt.NDArray[Any]]


def main() -> None:
    options = options_of("Trains a torch module as a job of a Hypha network.")
    task, model = task_of(options)
    if options.write_weights is not None:
        save(options.write_weights, arrays_of(model), bfloat16_of(model))
    else:
        run(lambda job: train(job, model, task, options))


def options_of(description: str) -> argparse.Namespace:
    """The options of this program; `evaluate_torch.py` takes them too."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("module", metavar="MODULE:FUNCTION")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, help="of one operation on the CPU; torch takes all cores where it is not given")
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--clip-norm", type=float, help="scale gradients down to this norm")
    parser.add_argument("--write-weights", metavar="FILE")
    options = parser.parse_args()
    if ":" not in options.module:
        parser.error(f"{options.module}: expected MODULE:FUNCTION")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    return options


def task_of(options: argparse.Namespace) -> Tuple[Any, torch.nn.Module]:
    """The module that the options name, and the model that its function makes."""
    name, _, function = options.module.partition(":")
    task = importlib.import_module(name)
    return task, getattr(task, function)()


def device_of(options: argparse.Namespace) -> torch.device:
    cuda = torch.cuda.is_available()
    if options.device == "cuda" and not cuda:
        raise JobFailed("Cannot run on cuda: torch finds no GPU; give the cell its devices, or take --device cpu")
    return torch.device("cuda" if cuda and options.device != "cpu" else "cpu")


def train(job: Job, model: torch.nn.Module, task: Any, options: argparse.Namespace) -> None:
    device = device_of(options)
    model.to(device)
    rate: float = job.config["optimizer"]["learning-rate"]
    betas = job.config["optimizer"].get("betas") or (0.9, 0.999)
    epsilon = job.config["optimizer"].get("epsilon") or 1e-8
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, rate, tuple(betas), epsilon, options.weight_decay)
    schedule = job.config.get("scheduler")
    step = steps_before(schedule, job.training, job.batch_size)
    while not job.done:
        load_arrays(model, job.parameters)
        before = arrays_of(model)
        clamp_variances(model)  # after `before` was taken: the update corrects a shared variance below zero
        model.train()
        for rows in job.batches(task.read_rows):
            for group in optimizer.param_groups:
                group["lr"] = rate * learning_rate_factor(schedule, step)
            optimizer.zero_grad(set_to_none=True)
            loss = task.loss(model, rows, device)
            loss.backward()
            if options.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(trained, options.clip_norm)
            optimizer.step()
            job.loss(loss.item())
            step += 1
        round_ = job.round
        job.push(difference(arrays_of(model), before))
        print(f"round {round_}: {step} inner steps on {device}, parameters {job.digest()}", flush=True)


def arrays_of(model: torch.nn.Module) -> Arrays:
    """Copies of parameters and buffers, BF16 as float32."""
    arrays: Arrays = {}
    for name, tensor in model.state_dict().items():
        wide = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
        arrays[name] = np.array(wide.cpu().numpy())
    return arrays


def bfloat16_of(model: torch.nn.Module) -> Mapping[str, str]:
    return {name: "BF16" for name, tensor in model.state_dict().items() if tensor.dtype == torch.bfloat16}


def load_arrays(model: torch.nn.Module, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Sets the working copy to the parameters that all members share."""
    state = model.state_dict()
    if state.keys() != arrays.keys():
        other = sorted(state.keys() ^ arrays.keys())
        raise JobFailed(f"Cannot load the model: {other[:4]} only on one side; write its weights with --write-weights")
    with torch.no_grad():
        for name, tensor in state.items():
            if tuple(tensor.shape) != arrays[name].shape:
                raise JobFailed(f"Cannot load {name}: {arrays[name].shape} in the training, {tuple(tensor.shape)} in the module")
            tensor.copy_(torch.from_numpy(np.array(arrays[name])))


def clamp_variances(model: torch.nn.Module) -> None:
    """Lifts variances of batch normalization to zero: the outer momentum may carry them below."""
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.clamp_(min=0)


if __name__ == "__main__":
    main()
