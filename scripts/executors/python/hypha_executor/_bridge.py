"""HTTP/1.1 over the Unix socket of a job."""

import contextlib
import http.client
import json
import queue
import socket
import threading
import time
from typing import Any, Callable, Generic, Optional, Tuple, TypeVar, Union

T = TypeVar("T")
ATTEMPTS_MAX, ANSWER_MAX_BYTES, EVENT_MAX_BYTES, WAITING_MAX = 5, 1_048_576, 65_536, 64
QUIET_S = 60.0  # the bridge writes a keep-alive every 5 s: a receive that is quiet this long has lost its worker
_HINTS = {
    401: "; pass BRIDGE_TOKEN on as it stands in the environment",
    403: "; use the references and peers of JOB_JSON as they stand",
    422: "; compare the body with docs/executors.md",
    503: "; wait for the requests that run",
    None: "; the worker has ended the job, or SOCKET_PATH is not its bridge",
}


class ExecutorError(Exception):
    """What this package raises."""


class BridgeFailed(ExecutorError):
    """The bridge refused a request, with this HTTP status; or no attempt reached it, and the status is None."""

    def __init__(self, message: str, status: Optional[int] = None) -> None:
        super().__init__(message + _HINTS.get(status, ""))
        self.status = status


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("bridge", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Bridge:
    """Requests to the bridge of one job."""

    def __init__(self, socket_path: str, token: Optional[str] = None, retry_s: float = 0.2) -> None:
        self._path, self._token, self._retry_s = socket_path, token, retry_s

    def post(self, route: str, body: Any, timeout_s: float = 120.0) -> Any:
        """Posts JSON and returns the JSON answer, None for an empty one. What may pass (no connection, 5xx) is tried
        five times, the wait doubling; a refusal (4xx) is final."""
        doing, sent = f"Cannot post {route}", _encode(route, body)

        def attempt() -> Any:
            with contextlib.closing(self._request(doing, route, sent, timeout_s)) as connection:
                answer = connection.getresponse()
                text = answer.read(ANSWER_MAX_BYTES + 1)
            if answer.length and len(text) <= ANSWER_MAX_BYTES:  # a read of so many bytes does not say that it broke off
                raise http.client.IncompleteRead(text, answer.length)
            if not 200 <= answer.status < 300 or len(text) > ANSWER_MAX_BYTES:
                return BridgeFailed(f"{doing}: {answer.status} {_short(text)}", answer.status)
            try:
                return None if text == b"" else json.loads(text)
            except ValueError:
                raise BridgeFailed(f"{doing}: the answer {_short(text)!r} is not JSON", answer.status) from None

        return self._retried(doing, attempt)

    def _retried(self, doing: str, attempt: Callable[[], Union[T, BridgeFailed]]) -> T:
        failed = BridgeFailed(doing)
        for number in range(ATTEMPTS_MAX):
            if number > 0:
                time.sleep(self._retry_s * 2 ** (number - 1))
            try:
                outcome = attempt()
            except (OSError, http.client.HTTPException) as error:
                failed = BridgeFailed(f"{doing}: {type(error).__name__}: {error}")
                continue
            if not isinstance(outcome, BridgeFailed):
                return outcome
            failed = outcome
            if failed.status is not None and failed.status < 500:
                break
        raise failed

    def _request(self, doing: str, route: str, text: bytes, timeout_s: float) -> _Connection:
        token = {} if self._token is None else {"authorization": f"Bearer {self._token}"}
        connection = _Connection(self._path, timeout_s)
        try:
            connection.request("POST", route, text, {"content-type": "application/json", **token})
        except ValueError:  # its text has the token
            connection.close()
            raise BridgeFailed(f"{doing}: BRIDGE_TOKEN cannot be sent as it stands") from None
        except BaseException:
            connection.close()
            raise
        return connection

    def receive(self, resource: Any, take: Callable[[str], T]) -> "Receiving[T]":
        """Opens `/resources/receive`: pushes are accepted when this returns. `take` gets each file's path at once."""
        route, doing = "/resources/receive", "Cannot receive"
        sent = _encode(route, {"resource": resource})

        def attempt() -> Union[http.client.HTTPResponse, BridgeFailed]:
            connection = self._request(doing, route, sent, QUIET_S)
            answer = connection.getresponse()
            if answer.status == 200:
                return answer
            with contextlib.closing(connection):
                return BridgeFailed(f"{doing}: {answer.status} {_short(answer.read(1000))}", answer.status)

        return Receiving(self._retried(doing, attempt), take)


def _encode(route: str, body: Any) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise BridgeFailed(f"Cannot post {route}: {error}") from None


def _short(text: bytes) -> str:
    return text[:1000].decode("utf-8", "replace")


class Receiving(Generic[T]):
    """An open receive: the files that were taken, in the order in which they came."""

    def __init__(self, answer: http.client.HTTPResponse, take: Callable[[str], T]) -> None:
        self.round: Optional[int] = None  # of the file that next() returned last, where the scheduler keeps the model
        self._taken: "queue.Queue[Union[Tuple[T, Optional[int]], ExecutorError]]" = queue.Queue(WAITING_MAX)
        threading.Thread(target=self._read, args=(answer, take), daemon=True).start()

    def next(self, timeout_s: float) -> T:
        """Waits for the next file."""
        try:
            taken = self._taken.get(timeout=timeout_s)
        except queue.Empty:
            raise BridgeFailed(f"Cannot receive: nothing came within {timeout_s:g} s, ask the aggregator", 200) from None
        if isinstance(taken, ExecutorError):
            self._taken.put(taken)
            raise taken
        result, self.round = taken
        return result

    def waiting(self) -> bool:
        """Whether something is here already."""
        return not self._taken.empty()

    def _read(self, answer: http.client.HTTPResponse, take: Callable[[str], T]) -> None:
        try:
            for line in iter(lambda: answer.readline(EVENT_MAX_BYTES), b""):
                if line.startswith(b"data:"):
                    event = json.loads(line[5:])
                    self._taken.put((take(event["path"]), event.get("round")))
            raise BridgeFailed("Cannot receive: the bridge ended the stream")
        except ExecutorError as error:
            self._taken.put(error)
        except Exception as error:  # for the thread that waits
            self._taken.put(BridgeFailed(f"Cannot receive: {type(error).__name__}: {error}"))
