"""The package's own tests: safetensors files, requests that are retried, a whole job against a bridge of the test's own.

Run by tests/network/python_executor.test.ts; by hand: PYTHONPATH=scripts/executors/python python FILE
"""

import hashlib
import http.server
import json
import os
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
from hypha_executor import Bridge, BridgeFailed, Job, JobFailed, MalformedSafetensors, difference, load, save
from learning_rate import learning_rate_factor, steps_before


class Safetensors(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = Path(self.folder.name, "x.safetensors")

    def write(self, header: Any, data: bytes = b"") -> Path:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        self.path.write_bytes(struct.pack("<Q", len(text)) + text + data)
        return self.path

    def test_every_element_type_comes_back(self) -> None:
        for name in ("f8", "f4", "f2", "i8", "u8", "i4", "u4", "i2", "u2", "i1", "u1", "?"):
            array = np.array([[0, 1, 1], [1, 0, 1]], dtype=name)
            save(self.path, {"näme": array, "scalar": np.array(1, dtype=name), "none": np.zeros((0, 3), dtype=name)})
            arrays = load(self.path).arrays
            self.assertEqual([*arrays], ["näme", "scalar", "none"])
            for each, expected in (("näme", array), ("scalar", np.array(1, dtype=name))):
                self.assertEqual((arrays[each].dtype, arrays[each].shape), (expected.dtype, expected.shape))
                self.assertTrue(np.array_equal(arrays[each], expected))
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_bf16_is_rounded_to_the_nearest_and_of_two_to_the_even_one(self) -> None:
        values = np.array([1.0, 1 + 2**-9, 1 + 2**-8, 1 + 3 * 2**-8, -3.0, np.inf, np.nan], np.float32)
        save(self.path, {"a": values}, {"a": "BF16"})
        expected = np.array([1.0, 1.0, 1.0, 1 + 2**-6, -3.0, np.inf, np.nan], np.float32)
        np.testing.assert_array_equal(load(self.path).arrays["a"], expected)
        self.assertIn(b'"BF16"', load(self.path).header)

    def test_a_file_that_was_read_may_be_replaced(self) -> None:
        save(self.path, {"a": np.array([1.0])})
        read = load(self.path)
        save(self.path, {"a": np.array([2.0])})
        self.assertEqual(read.arrays["a"][0], 1.0)

    def test_what_is_no_type_of_the_format_is_not_written(self) -> None:
        for array in (np.array(["text"]), np.array([1 + 2j])):
            with self.assertRaisesRegex(MalformedSafetensors, "no element type"):
                save(self.path, {"a": array})

    def test_malformed_files_are_refused(self) -> None:
        tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
        other = {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}
        cases: List[Tuple[str, Any, bytes]] = [
            ("not JSON", b"{", b""),
            ("not JSON", b'{"a": "\xff"}', b""),
            ("not a JSON object", [1], b""),
            ("appears twice", b'{"a":1,"a":2}', b""),
            ("appears twice", b'{"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
            ("shape", {"a": 7}, b""),
            ("not read", {"a": {**tensor, "dtype": "F8"}}, bytes(4)),
            ("not read", {"a": {**tensor, "dtype": ["F32"]}}, bytes(4)),
            ("shape", {"a": {**tensor, "shape": [True]}}, bytes(4)),
            ("shape", {"a": {**tensor, "shape": [-1]}}, bytes(4)),
            ("shape", {"a": {**tensor, "shape": "1"}}, bytes(4)),
            ("offsets", {"a": {**tensor, "data_offsets": [0]}}, bytes(4)),
            ("offsets", {"a": {"dtype": "F32", "shape": [1]}}, bytes(4)),
            ("do not take", {"a": {**tensor, "shape": [2]}}, bytes(4)),
            ("do not take", {"a": {**tensor, "data_offsets": [4, 0]}}, bytes(4)),
            ("leaves a gap", {"a": other}, bytes(8)),
            ("leaves a gap", {"a": tensor, "b": tensor}, bytes(8)),
            ("end at byte", {"a": tensor}, bytes(5)),
            ("end at byte", {"a": tensor}, bytes(3)),
            ("end at byte", {"a": tensor, "b": other}, bytes(4)),
            ("Cannot read", {"a": {"dtype": "F32", "shape": [1] * 100, "data_offsets": [0, 4]}}, bytes(4)),
            ("Cannot read", b"[" * 100_000, b""),
        ]
        for reason, header, data in cases:
            with self.subTest(reason=reason, header=str(header)[:80]):
                pattern = "Cannot read" if reason == "not JSON" else reason
                self.assertRaisesRegex(MalformedSafetensors, pattern, load, self.write(header, data))
        for text in (b"", b"1234567", struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 2_000_000) + b"{}" + b" " * 1_999_998):
            self.path.write_bytes(text)
            self.assertRaises(MalformedSafetensors, load, self.path)

    def test_metadata_is_passed_over(self) -> None:
        header = {"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
        self.assertEqual([*load(self.write(header, bytes(4))).arrays], ["a"])


Answer = Tuple[int, bytes]


class World:
    """A bridge that plays scheduler and aggregator: what a trainer sends is its result, but for what `changes` says."""

    def __init__(self, folder: Path, rounds: int = 2) -> None:
        self.folder, self.rounds = folder, rounds
        self.heard: List[str] = []
        self.tokens: List[Optional[str]] = []
        self.changes: Callable[[str, int], Optional[Answer]] = lambda route, count: None
        self.result: Callable[[Path], bytes] = lambda path: path.read_bytes()
        self.slice = "a\nb\nc\n"
        self._counts: Dict[str, int] = {}
        self._batches = 0
        self._pushed = threading.Semaphore(0)
        world = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                world.serve(self)

            def log_message(self, *_: Any) -> None:
                pass

            def address_string(self) -> str:
                return "unix"

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass  # the client may go away

        self.socket = str(folder / "bridge.sock")
        self._server = Server(self.socket, Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["content-length"])))
        self.tokens.append(request.headers["authorization"])
        count = self._counts[request.path] = self._counts.get(request.path, 0) + 1
        changed = self.changes(request.path, count)
        if changed is None and request.path == "/resources/receive":
            return self.receive(request)
        status, text = changed or (200, self.answer(request.path, body))
        if status == 0:
            request.connection.close()
            return
        request.send_response(abs(status))  # below zero: the connection breaks before the end of the answer
        request.send_header("content-length", str(len(text) + (10 if status < 0 else 0)))
        request.end_headers()
        request.wfile.write(text)
        if status < 0:
            request.close_connection = True

    def receive(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.heard.append("receive")
        request.send_response(200)
        request.end_headers()
        request.wfile.write(b": keepalive\n\n")
        while True:
            self._pushed.acquire()
            request.wfile.write(b'data: {"path":"incoming/peer","size":1,"from_peer":"peer","round":5}\n\n')

    def answer(self, route: str, body: Any) -> bytes:
        if route == "/resources/fetch":
            self.heard.append(f"fetch {body['dataset']}")
            name = "weights" if body["dataset"] == "weights" else "slice"
            if name == "slice":
                (self.folder / name).write_text(self.slice)
            return json.dumps([{"path": name, "size": 1}]).encode()
        if route == "/resources/send":
            self.heard.append(f"send {body['path']}")
            (self.folder / "incoming").mkdir(exist_ok=True)
            (self.folder / "incoming/peer").write_bytes(self.result(self.folder / body["path"]))
            self._pushed.release()
            return b""
        if body == "update-received":
            self.heard.append(f"received {route.partition('?')[2]}")
            self.rounds -= 1
            return b'{"type":"Done"}' if self.rounds == 0 else b'{"type":"Continue"}'
        self.heard.append(json.dumps(body))
        if "status" in body:
            self._batches += 1
            return b'{"type":"ScheduleUpdate","counter":1}' if self._batches % 2 == 1 else b'{"type":"Continue"}'
        return b'{"type":"Ok"}'


SPEC = {
    "job_id": "f4633ad1-6b37-4597-85a6-4e58a2117f5a",
    "training": {"id": "t", "run": 1, "round": 4, "samples": 320, "rounds": 8},
    "executor": {"class": "train", "descriptor": {"name": "x"}, "config": {
        "model": {"task": "auto", "artifact": {"type": "scheduler", "peer": "p", "dataset": "weights"}, "input-names": []},
        "data": {"type": "scheduler", "peer": "p", "dataset": "rows"},
        "updates": {"type": "peers", "peers": ["p"]}, "results": {"type": "peers", "peers": ["p"]},
        "optimizer": {"learning-rate": 0.1, "betas": None, "epsilon": None}, "batch_size": 2,
    }},
}  # fmt: skip
WEIGHTS = {
    "f": np.array([1.0, 2.0], np.float32),
    "d": np.array([0.1]),
    "i": np.array(7, np.int64),
    "u": np.array([255, 0], np.uint8),
    "b": np.array([True, False]),
}
STEP = {
    "f": np.array([1e-9, 1 / 3], np.float32),
    "d": np.array([0.2]),
    "i": np.array(-1, np.int64),
    "u": np.array([1, 255], np.uint8),
    "b": np.array([False, True]),
}


class JobTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.world = World(self.folder)
        self.addCleanup(self.world.close)
        save(self.folder / "weights", WEIGHTS)
        self.job = Job(Bridge(self.world.socket, "secret", retry_s=0.01), SPEC, self.folder)

    def rows(self, path: Path) -> List[str]:
        return path.read_text().split()

    def round(self) -> List[List[str]]:
        batches = []
        for batch in self.job.batches(self.rows):
            batches.append(batch)
            self.job.loss(float(len(batches)))
        self.job.push(STEP)
        return batches

    def test_rounds_in_the_order_of_the_contract(self) -> None:
        batches = [*self.round(), *self.round()]
        self.assertTrue(self.job.done)
        self.assertEqual([len(batch) for batch in batches], [2, 2, 2, 2])
        self.assertEqual(set(sum(batches, [])), {"a", "b", "c"})
        heard = [line for line in self.world.heard if line != "fetch rows"]
        self.assertEqual(heard[:8], [
            "fetch weights", "receive", '{"status": {"batch_size": 2}}', '{"status": {"batch_size": 2}}',
            '{"metrics": {"round": 5, "metrics": {"loss": 1.5}}}', "send update-5.safetensors", '"update"', heard[7],
        ])  # fmt: skip
        self.assertIn('{"metrics": {"round": 6, "metrics": {"loss": 1.5}}}', heard)
        self.assertRegex(heard[7], "^received parameters=[0-9a-f]{64}&round=5$")
        self.assertEqual([*self.folder.glob("update-*")], [])
        self.assertEqual(set(self.world.tokens), {"Bearer secret"})

    def test_bug_the_mean_of_two_numbers_near_the_largest_float_was_infinite_and_ended_the_job_without_a_reason(self) -> None:
        for _ in self.job.batches(self.rows):
            self.job.metric("norm", 1e308)
            self.job.metric("norm", 1.5e308)
        self.job.push(STEP)
        self.assertIn('{"metrics": {"round": 5, "metrics": {"norm": 1.25e+308}}}', self.world.heard)

    def test_a_body_that_is_no_json_is_named_and_not_sent(self) -> None:
        with self.assertRaisesRegex(BridgeFailed, "Cannot post /status/send: .* not JSON compliant"):
            self.job.bridge.post("/status/send", {"loss": float("inf")})
        self.assertEqual(self.world.heard, [])

    def test_bug_each_slice_stayed_in_the_work_directory(self) -> None:
        self.round()
        self.assertEqual([*self.folder.glob("slice*")], [])

    def test_results_are_added_bit_for_bit_and_the_digest_is_that_of_the_file(self) -> None:
        for _ in range(2):
            self.round()
        kept = self.job.parameters
        expected = np.array([1.0, 2.0], np.float32)
        for _ in range(2):
            expected = (expected.astype(np.float64) + STEP["f"]).astype(np.float32)
        np.testing.assert_array_equal(kept["f"], expected)
        step = float(np.float32(0.2))  # results are F32
        np.testing.assert_array_equal(kept["d"], np.array([0.1 + step + step]))
        self.assertEqual((int(kept["i"]), kept["u"].tolist(), kept["b"].tolist()), (5, [1, 254], [True, False]))
        save(self.folder / "kept", kept)
        digest = hashlib.sha256((self.folder / "kept").read_bytes()).hexdigest()
        self.assertEqual(self.world.heard[-1], f"received parameters={digest}&round=5")

    def test_done_in_the_middle_ends_the_round_and_nothing_is_sent(self) -> None:
        self.world.changes = lambda route, _: (200, b'{"type":"Done"}') if route == "/status/send" else None
        self.assertEqual(len(self.round()), 1)
        self.assertTrue(self.job.done)
        self.assertFalse(any("send" in line for line in self.world.heard))

    def test_what_passes_is_tried_again_and_a_refusal_is_not(self) -> None:
        passing = [(500, b"{}"), (503, b""), (0, b""), (500, b"{}")]
        self.world.changes = lambda _, count: passing[count - 1] if count <= len(passing) else None
        self.assertEqual(Bridge(self.world.socket, retry_s=0.01).post("/status/send", "update"), {"type": "Ok"})
        for status, attempts in ((500, 5), (403, 1), (401, 1)):
            self.world.tokens.clear()
            self.world.changes = lambda *_: (status, b'{"error":"x"}')
            with self.assertRaisesRegex(BridgeFailed, f"Cannot post /a: {status} ") as failed:
                Bridge(self.world.socket, retry_s=0.001).post("/a", {})
            self.assertEqual((failed.exception.status, len(self.world.tokens)), (status, attempts))
        with self.assertRaisesRegex(BridgeFailed, "SOCKET_PATH"):
            Bridge(str(self.folder / "none.sock"), retry_s=0.001).post("/a", {})

    def test_bug_the_opening_of_a_receive_was_tried_once(self) -> None:
        passing = [(503, b"busy"), (0, b""), (500, b"{}")]
        self.world.changes = lambda _, count: passing[count - 1] if count <= len(passing) else None
        Bridge(self.world.socket, retry_s=0.01).receive({"type": "peers"}, str)
        self.assertEqual(len(self.world.tokens), 4)
        for status, attempts in ((503, 5), (403, 1)):
            self.world.tokens.clear()
            self.world.changes = lambda *_: (status, b"no")
            with self.assertRaisesRegex(BridgeFailed, f"Cannot receive: {status} no") as failed:
                Bridge(self.world.socket, retry_s=0.001).receive({"type": "peers"}, str)
            self.assertEqual((failed.exception.status, len(self.world.tokens)), (status, attempts))

    def test_bug_a_token_that_is_no_header_ended_the_job_with_the_name_of_a_variable(self) -> None:
        for call in (lambda bridge: bridge.post("/a", {}), lambda bridge: bridge.receive({}, str)):
            with self.assertRaisesRegex(BridgeFailed, "Cannot .*: BRIDGE_TOKEN cannot be sent as it stands"):
                call(Bridge(self.world.socket, "secret\n"))
        self.assertEqual(self.world.tokens, [])

    def test_bug_an_answer_that_broke_off_was_taken_for_a_whole_one(self) -> None:
        for text in (b"", b'{"type":"Done"}', b'{"ty'):
            self.world.changes = lambda route, _: (-200, text) if route == "/status/send" and not passed else None
            passed: List[bool] = []
            bridge = Bridge(self.world.socket, retry_s=0.001)
            with self.subTest(text=text), self.assertRaisesRegex(BridgeFailed, "IncompleteRead"):
                bridge.post("/status/send", "update")
            passed.append(True)
            self.assertEqual(bridge.post("/status/send", "update"), {"type": "Ok"})

    def test_bug_the_index_of_weights_in_several_files_was_read_as_weights(self) -> None:
        config: Dict[str, Any] = SPEC["executor"]["config"]  # type: ignore[index]
        artifact = {"type": "huggingface", "repository": "o/m", "filenames": ["model.safetensors.index.json", "weights.safetensors"]}
        save(self.folder / "weights.safetensors", WEIGHTS)
        (self.folder / "model.safetensors.index.json").write_text('{"weight_map":{}}')
        files = json.dumps([{"path": name} for name in artifact["filenames"]]).encode()
        self.world.changes = lambda route, _: (200, files) if route == "/resources/fetch" else None
        model = {**config["model"], "artifact": artifact}
        spec = {**SPEC, "executor": {"class": "train", "config": {**config, "model": model}}}
        self.assertEqual([*Job(self.job.bridge, spec, self.folder).parameters], [*WEIGHTS])

    def test_an_answer_that_is_none_fails(self) -> None:
        for text in (b"<html>", b'{"type":"Error"}', b'{"type":"Perhaps"}', b"[]"):
            self.world.changes = lambda route, _: (200, text) if route == "/status/send" else None
            with self.subTest(text=text[:20]), self.assertRaises((BridgeFailed, JobFailed)):
                self.job.bridge = Bridge(self.world.socket, retry_s=0.001)
                for _ in self.job.batches(self.rows):
                    pass

    def test_an_answer_is_bounded(self) -> None:
        self.world.changes = lambda *_: (200, b'{"type":"Ok"}' + b" " * 2_000_000)
        with self.assertRaises(BridgeFailed):
            self.job.bridge.post("/status/send", "update")

    def test_rows_are_shuffled_and_all_of_a_slice_come(self) -> None:
        rows = [str(number) for number in range(40)]
        self.world.slice = "\n".join(rows)
        self.world.changes = lambda route, count: (200, b'{"type":"Continue"}') if "status" in route else None
        batches = self.job.batches(self.rows)
        taken = sum((next(batches) for _ in range(20)), [])
        self.assertEqual(sorted(taken), sorted(rows))
        self.assertNotEqual(taken, rows)

    def test_an_update_that_the_aggregator_would_reject_is_not_sent(self) -> None:
        self.assertTrue(self.job.parameters)
        bad = [
            ("missing", {name: value for name, value in STEP.items() if name != "f"}),
            ("not in the model", {**STEP, "more": STEP["f"]}),
            ("not float32", {**STEP, "f": np.zeros(3, np.float32)}),
            ("not float32", {**STEP, "f": np.zeros(2, np.int32)}),
            ("not int64", {**STEP, "i": np.array(1, np.int32)}),
            ("not finite", {**STEP, "f": np.array([np.nan, 0], np.float32)}),
        ]
        for reason, update in bad:
            with self.subTest(reason), self.assertRaisesRegex(JobFailed, reason):
                self.job.push(update)
        with self.assertRaisesRegex(JobFailed, "learning rate"):
            self.job.loss(float("nan"))
        self.assertNotIn('"update"', self.world.heard)

    def test_bug_the_difference_in_float64_that_numpy_makes_put_its_trainer_out(self) -> None:
        sent: List[Dict[str, Any]] = []
        self.world.result = lambda path: (sent.append(dict(load(path).arrays)), path.read_bytes())[1]
        self.assertTrue(self.job.parameters)
        self.job.push({**STEP, "f": np.array([1 / 3, 2.0])})
        self.assertEqual([sent[0][name].dtype.name for name in STEP], ["float32", "float32", "int64", "uint8", "bool"])
        np.testing.assert_array_equal(sent[0]["f"], np.array([1 / 3, 2], np.float32))
        with self.assertRaisesRegex(JobFailed, "not finite"):
            self.job.push({**STEP, "f": np.array([1e39, 0])})

    def test_a_result_that_does_not_fit_fails_and_changes_nothing(self) -> None:
        save(self.folder / "other", {**STEP, "f": np.zeros(3, np.float32)})
        whole = (self.folder / "weights").read_bytes()
        for result in (b"", b"12345678{}", whole[:-1], (self.folder / "other").read_bytes()):
            self.setUp()
            self.world.result = lambda _: result
            with self.assertRaises((MalformedSafetensors, JobFailed)):
                self.round()
            for name, value in self.job.parameters.items():
                np.testing.assert_array_equal(value, WEIGHTS[name])

    def test_slices_without_rows_end_the_job(self) -> None:
        self.world.slice = "\n"
        with self.assertRaisesRegex(JobFailed, "held no rows"):
            self.round()

    def test_a_job_that_is_none_is_refused(self) -> None:
        changes: List[Dict[str, Any]] = [{"executor": {"class": "aggregate"}}, {"executor": {}}, {"executor": 7}, {}]
        for change in changes:
            with self.assertRaises(JobFailed):
                Job(self.job.bridge, change, self.folder)
        environment = {"SOCKET_PATH": "s", "WORK_DIR": "w", "JOB_JSON": "{"}
        with self.assertRaisesRegex(JobFailed, "not JSON"):
            Job.from_environment(environment)
        with self.assertRaisesRegex(JobFailed, "WORK_DIR"):
            Job.from_environment({"SOCKET_PATH": "s", "JOB_JSON": json.dumps(SPEC)})


class Process(unittest.TestCase):
    def test_sigterm_ends_it_at_once_while_it_waits(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            listener = socket.socket(socket.AF_UNIX)
            self.addCleanup(listener.close)
            listener.bind(f"{folder}/bridge.sock")
            listener.listen()
            given = {"SOCKET_PATH": f"{folder}/bridge.sock", "WORK_DIR": folder, "JOB_JSON": json.dumps(SPEC)}
            program = Path(os.environ["PYTHONPATH"], "train_numpy.py")
            with subprocess.Popen([sys.executable, program], env={**os.environ, **given}) as process:
                connection, _ = listener.accept()  # it asks for its weights, and gets no answer
                process.send_signal(signal.SIGTERM)
                self.assertEqual(process.wait(10), 143)
                connection.close()


    def test_bug_an_evaluation_had_no_handler_for_sigterm(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "torch.py").write_text("class nn:\n    Module = object\n\ndevice = object\n")  # what its annotations name
            Path(folder, "task.py").write_text("import time\n\ndef model():\n    print(flush=True)\n    time.sleep(60)\n")
            python = os.environ["PYTHONPATH"]
            program = Path(python, "evaluate_torch.py")
            command = [sys.executable, program, "task:model"]
            given = {**os.environ, "PYTHONPATH": f"{folder}:{python}"}
            with subprocess.Popen(command, env=given, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                process.stdout.readline()  # it makes its model
                process.send_signal(signal.SIGTERM)
                self.assertEqual(process.wait(10), 143)


class Arithmetic(unittest.TestCase):
    def test_the_difference_and_what_it_is_added_to_are_inverse(self) -> None:
        after = {name: WEIGHTS[name] ^ STEP[name] if name == "b" else WEIGHTS[name] + STEP[name] for name in WEIGHTS}
        for name, value in difference(after, WEIGHTS).items():
            self.assertEqual((value.dtype, value.shape), (WEIGHTS[name].dtype, WEIGHTS[name].shape))
            again = WEIGHTS[name] ^ value if name == "b" else WEIGHTS[name] + value
            np.testing.assert_allclose(again, after[name], rtol=1e-6)

    def test_schedules(self) -> None:
        cosine = {"type": "cosine-with-warmup", "warmup_steps": 10, "training_steps": 110}
        linear = {**cosine, "type": "linear-with-warmup"}
        wsd = {"type": "wsd", "warmup_steps": 0, "decay_steps": 10}
        self.assertEqual([learning_rate_factor(cosine, step) for step in (0, 5, 10, 60, 110, 999)][:3], [0.0, 0.5, 1.0])
        self.assertAlmostEqual(learning_rate_factor(cosine, 60), 0.5)
        self.assertAlmostEqual(learning_rate_factor(linear, 35), 0.75)
        self.assertEqual(learning_rate_factor(linear, 999), 0.0)
        self.assertEqual(learning_rate_factor(wsd, 999), 1.0)
        self.assertAlmostEqual(learning_rate_factor(wsd, 95, 100), 0.5)
        self.assertEqual(learning_rate_factor(None, 7), 1.0)
        training = {"round": 4, "rounds": 8, "samples": 320}
        self.assertEqual(steps_before(cosine, training, 32), 55)
        self.assertEqual((steps_before(wsd, training, 32), steps_before(None, {}, 32)), (10, 0))


if __name__ == "__main__":
    unittest.main()
