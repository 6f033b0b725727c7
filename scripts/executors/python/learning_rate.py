"""The learning-rate schedules of a job specification."""

import math
from typing import Any, Mapping, Optional

Schedule = Optional[Mapping[str, Any]]


def learning_rate_factor(schedule: Schedule, step: int, steps_total: Optional[int] = None) -> float:
    """The factor of the learning rate at an inner step, counted from 0 over the whole training.

    Each schedule rises linearly during its warm-up; `cosine-with-warmup` and `linear-with-warmup` then fall to zero at
    `training_steps`. `wsd` falls in its last `decay_steps`; without `steps_total` they are unknown, and it stays.
    """
    if schedule is None:
        return 1.0
    warmup: int = schedule["warmup_steps"]
    if step < warmup:
        return step / warmup
    if schedule["type"] == "cosine-with-warmup":
        return _half_cosine(_progress(step - warmup, schedule["training_steps"] - warmup))
    if schedule["type"] == "linear-with-warmup":
        return 1 - _progress(step - warmup, schedule["training_steps"] - warmup)
    if steps_total is None:
        return 1.0
    start = max(warmup, steps_total - int(schedule["decay_steps"]))
    return 1.0 if step < start else _half_cosine(_progress(step - start, schedule["decay_steps"]))


def steps_before(schedule: Schedule, training: Mapping[str, Any], batch_size: int) -> int:
    """The inner steps before this job, so that a schedule does not start again when a member joins or a training resumes.

    Where the schedule has `training_steps` it is their share of the finished rounds. Otherwise it is the samples of all members in
    batches: more than one member's steps, which only says that the warm-up is over.
    """
    rounds = training.get("rounds", 0)
    if schedule is not None and "training_steps" in schedule and rounds > 0:
        return int(schedule["training_steps"]) * int(training["round"]) // int(rounds)
    return int(training.get("samples", 0)) // batch_size


def _progress(done: int, total: int) -> float:
    return 1.0 if total <= 0 else min(1.0, done / total)


def _half_cosine(done: float) -> float:
    return (1 + math.cos(math.pi * done)) / 2
