"""An executor's side of a Hypha job (docs/executors.md). Start with :class:`Job`."""

from ._bridge import Bridge, BridgeFailed, ExecutorError
from ._job import Job, JobFailed, difference, run
from ._safetensors import MalformedSafetensors, TensorFile, load, save

__all__ = ["Bridge", "BridgeFailed", "ExecutorError", "Job", "JobFailed", "MalformedSafetensors", "TensorFile"]
__all__ += ["difference", "load", "run", "save"]
