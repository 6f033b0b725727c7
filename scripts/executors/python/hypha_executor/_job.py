"""A job: its rounds, its parameters, its progress."""

import hashlib
import json
import math
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NoReturn, Optional, Sequence, TypeVar

import numpy as np

from ._bridge import Bridge, ExecutorError, Receiving
from ._safetensors import Array, TensorFile, load, save

T = TypeVar("T")
WAIT_S = 86_400.0  # another aggregator may have to be found; the worker ends fetches and jobs that make no progress
EMPTY_SLICES_MAX = 16


class JobFailed(ExecutorError):
    """The job cannot go on."""


class Job:
    """One job of class `train`. `done` is True when the scheduler has ended the training."""

    def __init__(self, bridge: Bridge, spec: Mapping[str, Any], work_dir: Path) -> None:
        try:
            executor = spec["executor"]
            if executor["class"] != "train":
                raise JobFailed(f"Cannot do a job of class {executor['class']!r}: name this program for class train only")
            self.config: Mapping[str, Any] = executor["config"]
            self.batch_size: int = self.config["batch_size"]
            self.training: Mapping[str, Any] = spec.get("training") or {}
            self.round: int = self.training.get("round", 0) + 1
        except (KeyError, TypeError) as error:
            raise JobFailed(f"Cannot read JOB_JSON: {error}; docs/executors.md has its shape") from None
        if self.batch_size < 1:
            raise JobFailed("Cannot train in batches of 0: the scheduler's job asks for more than the worker offered")
        self.bridge, self.spec, self.work_dir = bridge, spec, work_dir
        self.done = False
        self._served: Optional[bytes] = None
        self._parameters: Dict[str, Array] = {}
        self._results: Optional[Receiving[TensorFile]] = None
        self._metrics: Dict[str, List[float]] = {}
        self._rows: List[Any] = []
        self._slices = 0

    @staticmethod
    def from_environment(environment: Mapping[str, str] = os.environ) -> "Job":
        """The job that a worker started this process for."""
        try:
            bridge = Bridge(environment["SOCKET_PATH"], environment.get("BRIDGE_TOKEN"))
            return Job(bridge, json.loads(environment["JOB_JSON"]), Path(environment["WORK_DIR"]))
        except KeyError as error:
            raise JobFailed(f"Cannot start without the variable {error}: a worker starts executors") from None
        except ValueError as error:
            raise JobFailed(f"Cannot start: JOB_JSON is not JSON: {error}") from None

    def fetch(self, reference: Mapping[str, Any]) -> List[Path]:
        """Fetches the files of a reference of the job."""
        files = self.bridge.post("/resources/fetch", reference, WAIT_S)
        if not isinstance(files, list) or not files:
            raise JobFailed(f"Cannot fetch: the bridge named no file for {json.dumps(reference)}")
        return [self.work_dir / file["path"] for file in files]

    @property
    def parameters(self) -> Mapping[str, Array]:
        """What all members share, by name, in F32 (F64 and integers as they are). Copy an array before you change it.

        They are fetched at the first use. Where the model reference is a name and no file, assign them before.
        """
        if self._results is None:
            artifact = self.config["model"]["artifact"]
            served = artifact["type"] == "scheduler"
            files = [load(path) for path in self.fetch(artifact) if served or path.name.endswith(".safetensors")]
            self._served = files[0].header if served else None
            self.parameters = {name: array for file in files for name, array in file.arrays.items()}
        return self._parameters

    @parameters.setter
    def parameters(self, initial: Mapping[str, Array]) -> None:
        if len(initial) == 0:
            raise JobFailed("Cannot train without tensors: the model needs a file named *.safetensors")
        half = np.dtype(np.float16)
        self._parameters = {name: a.astype(np.float32 if a.dtype == half else a.dtype) for name, a in initial.items()}
        if self._results is None:  # pushes are accepted only while this is open
            self._results = self.bridge.receive(self.config["results"], lambda path: load(self.work_dir / path))

    def batches(self, read: Callable[[Path], Sequence[T]]) -> Iterator[List[T]]:
        """The batches of one round, of the rows that `read` finds in each slice. Each is reported when the next is asked for.

        A slice is removed when `read` has returned its rows and they were listed.
        """
        left = None if self.parameters else 0
        while not self.done and left != 0:
            batch: List[T] = self._batch(read)
            yield batch
            answer = self._report({"status": {"batch_size": len(batch)}})
            self.done = answer["type"] == "Done"
            left = left - 1 if left is not None else answer["counter"] if answer["type"] == "ScheduleUpdate" else None

    def _batch(self, read: Callable[[Path], Sequence[T]]) -> List[T]:
        empty = 0
        while len(self._rows) < self.batch_size:
            path = self.fetch(self.config["data"])[0]
            rows = list(read(path))
            path.unlink(missing_ok=True)  # it counts against the lease's storage
            random.Random(f"{self.spec['job_id']} {path.name} {self._slices}").shuffle(rows)
            self._rows.extend(rows)
            self._slices += 1
            empty = 0 if rows else empty + 1
            if empty == EMPTY_SLICES_MAX:
                raise JobFailed(f"Cannot train: {empty} slices held no rows; look at {path.name} of the data set")
        batch, self._rows = self._rows[: self.batch_size], self._rows[self.batch_size :]
        return batch

    def loss(self, value: float) -> None:
        """Notes the loss of a batch."""
        self.metric("loss", value)

    def metric(self, name: str, value: float) -> None:
        """Notes a number of this round, whose mean is reported at its end."""
        if not math.isfinite(value):
            raise JobFailed(f"Cannot go on: {name} is {value} in round {self.round}; lower the learning rate")
        self._metrics.setdefault(name, []).append(float(value))

    def push(self, update: Mapping[str, Array]) -> None:
        """Ends a round: sends the update, waits for the result, adds it to the parameters. Does nothing when all is done.

        Floats that are longer than F32 are rounded to it.
        """
        if self.done or self._results is None:
            return
        with np.errstate(over="ignore"):  # an infinity is refused below
            update = {name: a.astype(np.float32) if a.dtype.kind == "f" and a.itemsize > 4 else a for name, a in update.items()}
        self._check(update)
        metrics = {name: math.fsum(value / len(values) for value in values) for name, values in self._metrics.items()}
        self._metrics = {}
        if metrics:
            self._report({"metrics": {"round": self.round, "metrics": metrics}})
        path = f"update-{self.round}.safetensors"
        save(self.work_dir / path, {name: update[name] for name in self._parameters})
        self.bridge.post("/resources/send", {"resource": self.config["updates"], "path": path})
        self._report("update")
        self._apply(self._results.next(WAIT_S))
        while self._results.waiting():  # of earlier rounds: the other members have them too
            self._apply(self._results.next(0))
        (self.work_dir / path).unlink()
        query = "" if self._served is None else f"?parameters={self.digest()}"
        if self._served is not None and self._results.round is not None:
            query += f"&round={self._results.round}"
        self.done = self._report("update-received", query)["type"] == "Done"
        self.round += 1

    def digest(self) -> str:
        """SHA-256 of the parameters as a file with the header of the fetched one."""
        sha256 = hashlib.sha256(self._served or b"")
        for array in self._parameters.values():
            sha256.update(array.tobytes())
        return sha256.hexdigest()

    def _report(self, progress: Any, query: str = "") -> Mapping[str, Any]:
        answer = self.bridge.post(f"/status/send{query}", progress)
        if not isinstance(answer, dict) or answer.get("type") not in ("Ok", "Continue", "ScheduleUpdate", "Done"):
            raise JobFailed(f"Cannot go on: the scheduler answers {answer}; its training has ended or another run began")
        return answer

    def _check(self, tensors: Mapping[str, Array]) -> None:
        for name in {**self._parameters, **tensors}:
            if name not in tensors or name not in self._parameters:
                raise JobFailed(f"Cannot take tensor {name!r}: {'missing' if name not in tensors else 'not in the model'}")
            found, model = tensors[name], self._parameters[name]
            same = found.dtype.kind == "f" if model.dtype.kind == "f" else found.dtype == model.dtype
            if found.shape != model.shape or not same:
                is_, not_ = (f"{array.dtype}{list(array.shape)}" for array in (found, model))
                raise JobFailed(f"Cannot take tensor {name!r}: it is {is_}, not {not_}")
            if found.dtype.kind == "f" and not np.isfinite(found).all():
                raise JobFailed(f"Cannot take tensor {name!r}: a value is not finite; lower the learning rate")

    def _apply(self, result: TensorFile) -> None:
        self._check(result.arrays)
        for name, model in self._parameters.items():
            step = result.arrays[name]
            sum_ = model ^ step if model.dtype == np.bool_ else (model + step).astype(model.dtype)
            self._parameters[name] = np.asarray(sum_)


def difference(after: Mapping[str, Array], before: Mapping[str, Array]) -> Dict[str, Array]:
    """The update of a round, after − before: F32 (F64 and integers as they are), of a bool whether it changed."""
    wide = {name: np.float32 if old.dtype == np.float16 else old.dtype for name, old in before.items()}
    return {
        name: np.asarray(after[name] ^ old if old.dtype == np.bool_ else after[name].astype(wide[name]) - old.astype(wide[name]))
        for name, old in before.items()
    }


def run(train: Callable[[Job], None]) -> NoReturn:
    """Runs an executor. The process ends with 0 after the training, with 1 and a line on standard error on failure."""
    # As process 1 of a namespace a signal without a handler would be ignored.
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    try:
        train(Job.from_environment())
    except (ExecutorError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)
