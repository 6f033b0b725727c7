/** Files on streams: raw and framed, whole or not at all. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Effect, Fiber, Result } from "effect";
import * as TestClock from "effect/testing/TestClock";
import { readLabel } from "../../actors/files/labelled_stream.ts";
import { readStreamFile, writeRefusal, writeStreamFile } from "../../actors/files/stream_file.ts";
import { type StreamHandle, type StreamProtocol, TransportError } from "../../transport/port.ts";
import { encodeFileHead } from "../../transport/protocols/mod.ts";
import { streamPair } from "../support/job_world.ts";

const test = suite("files on streams");
const framed = "/hypha-tensor-stream/push/2" as const, raw = "/hypha-tensor-stream/push" as const;
const limits = { fileBytesMax: 200_000, idleMs: 2_000 };
const body = Uint8Array.from({ length: 150_001 }, (_, at) => at % 251);
const digestOf = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());
const whole = (bytes: Uint8Array) => Buffer.concat([encodeFileHead({ size: bytes.length }), bytes, digestOf(bytes)]);

const source = (bytes: Uint8Array, sizeBytes = bytes.length) => ({
  sizeBytes,
  read: (into: Uint8Array, position: number) =>
    Effect.sync(() => {
      const piece = bytes.subarray(position, position + into.length);
      into.set(piece);
      return piece.length;
    }),
});

/** Writes pieces and ends, or breaks off, and reads them as a file: the bytes, or the code of the failure. */
async function read(protocol: StreamProtocol, pieces: readonly Uint8Array[], end: "whole" | "broken" = "whole") {
  const { near, far } = streamPair({ near: "a", far: "b" }, protocol);
  const taken: Uint8Array[] = [];
  const outcome = await Effect.runPromise(
    Effect.result(
      Effect.gen(function* () {
        yield* Effect.forkChild(Effect.gen(function* () {
          for (const piece of pieces) yield* near.write(piece);
          yield* end === "whole" ? near.end : near.abort("cut off");
        }));
        return yield* readStreamFile(far, (piece) => Effect.sync(() => void taken.push(piece)), limits);
      }),
    ),
  );
  return Result.isSuccess(outcome)
    ? { size: outcome.success, bytes: Buffer.concat(taken) }
    : (outcome.failure as TransportError).code;
}

for (const protocol of [raw, framed] as const) {
  test(`${protocol}: what is written is what is read`, async () => {
    for (const bytes of [body, new Uint8Array(0), body.subarray(0, 65_536)]) {
      const { near, far } = streamPair({ near: "a", far: "b" }, protocol);
      const taken: Uint8Array[] = [];
      const [sent, got] = await Effect.runPromise(
        Effect.all([
          writeStreamFile(near, source(bytes), limits),
          readStreamFile(far, (piece) => Effect.sync(() => void taken.push(piece)), limits),
        ], { concurrency: 2 }),
      );
      assert.equal([sent, got], [bytes.length, bytes.length]);
      assert.ok(Buffer.concat(taken).equals(bytes));
    }
  });
}

test("framed: the bytes are head, file, digest, as docs/wire.md writes them down", () => {
  assert.is(
    whole(new TextEncoder().encode("seven")).toString("hex"),
    "0a00000000000000" + Buffer.from('{"size":5}').toString("hex") + "736576656e" +
      createHash("sha256").update("seven").digest("hex"),
  );
  assert.is(
    Buffer.from(encodeFileHead({ refused: "job-scope" })).toString("hex"),
    "1700000000000000" + Buffer.from('{"refused":"job-scope"}').toString("hex"),
  );
});

test("framed: pieces may be cut anywhere", async () => {
  const small = whole(body.subarray(0, 300));
  for (let at = 1; at < small.length; at++) {
    const got = await read(framed, [small.subarray(0, at), small.subarray(at)]);
    assert.ok(typeof got === "object" && got.bytes.equals(body.subarray(0, 300)), `cut at ${at}`);
  }
  const single = await read(framed, Array.from(small, (octet) => Uint8Array.of(octet)));
  assert.is(typeof single === "object" && single.size, 300);
});

test("framed: an end before the end is never taken for one, wherever it comes", async () => {
  const small = whole(body.subarray(0, 40));
  for (let at = 0; at < small.length; at++) {
    const code = await read(framed, at === 0 ? [] : [small.subarray(0, at)]);
    assert.ok(code === "malformed" || code === "stream-reset", `cut at ${at}: ${JSON.stringify(code)}`);
  }
  assert.is(await read(framed, [small], "broken"), "stream-reset");
  assert.is(await read(raw, [small], "broken"), "stream-reset");
});

test("framed: one wrong octet of file or digest, and octets behind it, are found", async () => {
  const small = whole(body.subarray(0, 40));
  const head = encodeFileHead({ size: 40 }).length;
  for (let at = head; at < small.length; at++) {
    const wrong = Buffer.from(small);
    wrong[at] = wrong[at]! ^ 1;
    assert.is(await read(framed, [wrong]), "malformed", `octet ${at}`);
  }
  assert.is(await read(framed, [small, Uint8Array.of(0)]), "malformed");
});

test("bug: a file over 4 GiB is taken where the limit allows it", async () => {
  const sizeBytes = 5 * 1024 ** 3;
  const { near, far } = streamPair({ near: "a", far: "b" }, framed);
  const taken = readStreamFile(far, () => Effect.void, { fileBytesMax: sizeBytes, idleMs: 2_000 });
  const outcome = await Effect.runPromise(Effect.result(Effect.andThen(
    Effect.forkChild(Effect.andThen(near.write(encodeFileHead({ size: sizeBytes })), near.end)),
    taken,
  )));
  assert.is(
    Result.isFailure(outcome) && (outcome.failure as TransportError).code,
    "stream-reset",
    "its bytes are missing",
  );
});

test("what is too large is refused, framed before a byte of it comes", async () => {
  assert.is(await read(framed, [encodeFileHead({ size: limits.fileBytesMax + 1 })]), "too-large");
  assert.is(await read(raw, [new Uint8Array(limits.fileBytesMax), Uint8Array.of(1)]), "too-large");
  assert.is(typeof await read(raw, [new Uint8Array(limits.fileBytesMax)]), "object");
});

test("a head that is none: another length, both, neither, no JSON", async () => {
  const framedJson = (json: string, length = json.length) => {
    const bytes = Buffer.alloc(8 + json.length, json.padStart(json.length + 8));
    bytes.writeBigUInt64LE(BigInt(length));
    return bytes;
  };
  for (const json of ["{}", '{"size":1,"refused":"x"}', '{"size":-1}', '{"size":1.5}', "[]", "size", '{"size":"1"}']) {
    assert.is(await read(framed, [framedJson(json)]), "malformed", json);
  }
  assert.is(await read(framed, [framedJson('{"size":0}', 1_024)]), "malformed");
  assert.is(await read(framed, [framedJson('{"size":0}', 2 ** 50)]), "malformed");
});

test("a refusal is one, with its code and nothing behind it", async () => {
  const { near, far } = streamPair({ near: "a", far: "b" }, framed);
  const [, seen] = await Effect.runPromise(
    Effect.all([
      writeRefusal(near, "job-scope", limits),
      Effect.flip(readStreamFile(far, () => Effect.void, limits)),
    ], { concurrency: 2 }),
  );
  assert.equal([seen.code, seen.detail], ["refused", "job-scope"]);
  assert.is(await read(framed, [encodeFileHead({ refused: "x" }), Uint8Array.of(1)]), "malformed");
});

for (const protocol of [raw, framed] as const) {
  test(`bug: ${protocol}: a file that shrinks while it is sent breaks off; one that grows is sent at the length that it had`, async () => {
    /** Sends a file whose length was `sizeBytes`, and receives it: for each of both the bytes, or the failure's code. */
    const copy = (bytes: Uint8Array, sizeBytes: number) => {
      const { near, far } = streamPair({ near: "a", far: "b" }, protocol);
      const sent = Effect.tapError(
        writeStreamFile(near, source(bytes, sizeBytes), limits),
        () => near.abort("not sent"),
      );
      const outcomes = [sent, readStreamFile(far, () => Effect.void, limits)].map((one) =>
        Effect.match(one, { onFailure: ({ code }) => code, onSuccess: (size) => size })
      );
      return Effect.runPromise(Effect.all(outcomes, { concurrency: 2 }));
    };
    assert.equal(await copy(body.subarray(0, 10), 20), ["failed", "stream-reset"]);
    assert.equal(await copy(body, 100), [100, 100]);
  });
}

/** A stream of which nothing is read or written but what `part` says. */
const stuck = (part: Partial<StreamHandle>): StreamHandle => ({
  ...streamPair({ near: "a", far: "b" }, raw).far,
  read: Effect.never,
  write: () => Effect.never,
  end: Effect.never,
  ...part,
});
const idle = { fileBytesMax: 200_000, idleMs: 300 };

/** The code of a failure, and how long it took. */
async function timed(copy: Effect.Effect<unknown, unknown>): Promise<{ readonly code: string; readonly ms: number }> {
  const begun = performance.now();
  const { code } = await Effect.runPromise(Effect.flip(copy)) as TransportError;
  return { code, ms: performance.now() - begun };
}

test("a wait for the stream that lasts longer than the limit fails, at the limit", async () => {
  let reads = 0;
  const slow = stuck({
    read: Effect.suspend(() =>
      reads++ < 2
        ? Effect.as(Effect.sleep(200), { type: "bytes", bytes: new Uint8Array(64_000) } as const)
        : Effect.never
    ),
  });
  const copies: [name: string, copy: Effect.Effect<unknown, unknown>, leastMs: number][] = [
    ["read", readStreamFile(stuck({}), () => Effect.void, idle), 300],
    ["read behind two that come in time", readStreamFile(slow, () => Effect.void, idle), 700],
    ["write", writeStreamFile(stuck({}), source(body), idle), 300],
    ["end", writeStreamFile(stuck({ write: () => Effect.void }), source(body), idle), 300],
  ];
  await Promise.all(copies.map(async ([name, copy, leastMs]) => {
    const { code, ms } = await timed(copy);
    assert.is(code, "timed-out", name);
    assert.ok(ms > leastMs - 5 && ms < leastMs + 5_000, `${name}: ${ms} ms`);
  }));
});

const patient = { fileBytesMax: 200_000_000, idleMs: 60_000 };

/** A copy after so many seconds of virtual time: what it came to, undefined where it is under way. */
function after<A>(seconds: number, copy: Effect.Effect<A, unknown>): Promise<A | string | undefined> {
  return Effect.runPromise(Effect.scoped(Effect.provide(
    Effect.gen(function* () {
      const fiber = yield* Effect.forkScoped(copy);
      yield* TestClock.adjust(seconds * 1_000);
      const exit = fiber.pollUnsafe();
      if (exit === undefined) return undefined;
      const outcome = yield* Effect.result(Fiber.join(fiber));
      return Result.isSuccess(outcome) ? outcome.success : (outcome.failure as TransportError).code;
    }),
    TestClock.layer(),
  )));
}

/** A stream from which so many octets can be read after each wait. */
function dripping(protocol: StreamProtocol, octets: number, waitMs: number): StreamHandle {
  const chunks = [encodeFileHead({ size: patient.fileBytesMax })];
  const next = () => ({ type: "bytes", bytes: chunks.pop() ?? new Uint8Array(octets) } as const);
  return stuck({ read: Effect.map(Effect.sleep(waitMs), next), protocol });
}
/** A stream that takes a piece after each wait. */
const draining = (waitMs: number) => stuck({ write: () => Effect.sleep(waitMs), end: Effect.void });

test("bug: a sender that sent an octet each 59 s held its receiver for days, and a receiver held its sender", async () => {
  const bytes = new Uint8Array(20 * 1024 ** 2);
  for (const protocol of [raw, framed] as const) {
    assert.is(await after(600, readStreamFile(dripping(protocol, 1, 59_000), () => Effect.void, patient)), "timed-out");
  }
  assert.is(await after(600, writeStreamFile(draining(59_000), source(bytes), patient)), "timed-out");
});

test("bug: a sender whose head came an octet at a time held its receiver for hours", async () => {
  const head = encodeFileHead({ size: 1 });
  let at = 0;
  const next = () => ({ type: "bytes", bytes: head.subarray(at, ++at) } as const);
  const slow = stuck({ read: Effect.map(Effect.sleep(9_000), next), protocol: framed });
  assert.is(await after(11, readLabel(slow, { idleMs: 10_000 })), "timed-out");
});

test("a slow link is no idle stream: 33 kB/s in small pieces, in large ones, and after 50 s of nothing", async () => {
  const bytes = new Uint8Array(20 * 1024 ** 2);
  for (const protocol of [raw, framed] as const) {
    assert.is(
      await after(5_000, readStreamFile(dripping(protocol, 16_500, 500), () => Effect.void, patient)),
      undefined,
    );
  }
  let pauseMs = 50_000;
  const paused = stuck({
    write: () =>
      Effect.suspend(() => Effect.sleep(pauseMs + 7_900)).pipe(Effect.tap(() => Effect.sync(() => pauseMs = 0))),
    end: Effect.void,
  });
  assert.is(await after(1_000, writeStreamFile(paused, source(bytes), patient)), bytes.length);
});

test("a copy that fails ends only when its read of the file has: the file is closed next", async () => {
  let isReading = false;
  const file = {
    sizeBytes: 2,
    read: (into: Uint8Array, position: number) =>
      Effect.uninterruptible(Effect.gen(function* () {
        isReading = true;
        if (position > 0) yield* Effect.sleep(600);
        isReading = false;
        into[0] = 1;
        return 1;
      })),
  };
  assert.is((await timed(writeStreamFile(stuck({}), file, idle))).code, "timed-out");
  assert.not(isReading);
});

test("a file that takes its pieces slowly is no idle stream", async () => {
  const { near, far } = streamPair({ near: "a", far: "b" }, raw);
  const [, size] = await Effect.runPromise(
    Effect.all([
      writeStreamFile(near, source(body.subarray(0, 10)), idle),
      readStreamFile(far, () => Effect.sleep(700), idle),
    ], { concurrency: 2 }),
  );
  assert.is(size, 10);
});

test.run();
