import { suite } from "uvu";
import * as assert from "uvu/assert";
import { TransportError } from "../../../transport/port.ts";
import { transportError } from "../../../transport/core/whole_message.ts";

const test = suite("transportError()");

const named = (name: string, message = "odd") => Object.assign(new Error(message), { name });
const codeOf = (error: unknown, signal = new AbortController().signal) => transportError(error, signal).code;

test("an error that is typed already stays what it is, also after its signal", () => {
  const error = new TransportError({ code: "too-large", detail: "much" });
  assert.is(transportError(error, AbortSignal.abort()), error);
});

test("an error after an abort is what the abort was for", () => {
  const aborted = (code: "cancelled" | "stopped" | "failed") =>
    AbortSignal.abort(new TransportError({ code, detail: "enough" }));
  assert.is(codeOf(named("StreamResetError"), AbortSignal.abort()), "timed-out");
  assert.is(codeOf(named("StreamResetError"), aborted("cancelled")), "cancelled");
  assert.is(codeOf(named("StreamResetError"), aborted("stopped")), "stopped");
  assert.is(codeOf(named("StreamResetError"), aborted("failed")), "timed-out");
});

test("other errors are told by their name", () => {
  assert.is(codeOf(named("DialFailed")), "not-connected");
  assert.is(codeOf(named("UnsupportedProtocolError")), "unsupported");
  for (
    const name of ["StreamResetError", "StreamClosedError", "StreamStateError", "UnexpectedEOFError", "AbortError"]
  ) {
    assert.is(codeOf(named(name)), "stream-reset", name);
  }
  assert.is(codeOf(named("TypeError")), "failed");
  assert.is(codeOf("thrown"), "failed");
  assert.is(transportError(named("TypeError", "x".repeat(201)), new AbortController().signal).detail, "x".repeat(200));
});

test.run();
