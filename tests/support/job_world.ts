/**
 * What a job is given in tests: ports over the real clock, streams in memory, and a network that a test fills in.
 *
 * @module
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomUUID } from "node:crypto";
import { Clock, Effect, Exit, Fiber, Queue } from "effect";
import { fetchDefault } from "../../actors/config/cell_config.ts";
import { type Web, webUnder } from "../../actors/job/bridge/web_request.ts";
import type { JobScope } from "../../actors/job/scope.ts";
import type { Ports, Report } from "../../actors/runtime/ports.ts";
import type { JobNetwork, PushReceiver } from "../../actors/job/network.ts";
import { type StreamChunk, type StreamHandle, type StreamProtocol, TransportError } from "../../transport/port.ts";

/** A scope that holds everything. */
export const anything: JobScope = { fetches: () => true, sendsTo: () => true, receivesFrom: allPeers() };

function allPeers(): readonly string[] {
  const everybody: string[] = [];
  everybody.includes = () => true;
  return everybody;
}

/** The web with nothing denied: servers of tests are on loopback. */
export const openWeb: Web = webUnder({ ...fetchDefault, denyCidr: [] });

/**
 * Ports that run Effects for real and keep what was reported.
 *
 * @param clock The clock of the Effects, instead of the real one.
 */
export function realPorts(clock?: Clock.Clock): Ports & { readonly reports: Report[] } {
  const reports: Report[] = [];
  return {
    reports,
    now: () => Date.now(),
    random: () => 0.5,
    uuid: () => randomUUID(),
    report: (report) => void reports.push(report),
    run: (effect, onExit) => {
      const given = effect as Effect.Effect<never>;
      const fiber = Effect.runFork(clock === undefined ? given : Effect.provideService(given, Clock.Clock, clock));
      fiber.addObserver((exit) => queueMicrotask(() => onExit(exit)));
      return () => fiber.interruptUnsafe();
    },
  };
}

/** Runs an Effect to its value; a failure is thrown as it is. */
export function runOf<A, E>(effect: Effect.Effect<A, E>): Promise<A> {
  return Effect.runPromise(effect);
}

/** The failure of an Effect that must fail. */
export async function failureOf<A, E>(effect: Effect.Effect<A, E>): Promise<E> {
  const outcome = await Effect.runPromise(Effect.result(effect));
  if (outcome._tag === "Success") throw new Error("Cannot take failure: the Effect succeeded");
  return outcome.failure;
}

/** A fresh directory, removed by `remove`. */
export function temporary(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), "hypha-test-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true, maxRetries: 5 }) };
}

/** Bytes as a file that is open for reading. */
export const openBytes = (bytes: Uint8Array) => ({
  fd: -1,
  sizeBytes: bytes.length,
  read: (into: Uint8Array, position: number) =>
    Effect.sync(() => {
      const piece = bytes.subarray(position, position + into.length);
      into.set(piece);
      return piece.length;
    }),
});

/** Waits until `holds` does; throws with `what` after `withinMs`. */
export async function eventually(what: string, holds: () => boolean, withinMs = 20_000): Promise<void> {
  const until = Date.now() + withinMs;
  while (!holds()) {
    if (Date.now() > until) throw new Error(`Cannot see within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Both ends of a stream: what one writes the other reads. */
export function streamPair(
  peers: { readonly near: string; readonly far: string },
  protocol: StreamProtocol = "/hypha-tensor-stream/push",
): { readonly near: StreamHandle; readonly far: StreamHandle } {
  const toFar = new Direction(), toNear = new Direction();
  const both = () => {
    toFar.break();
    toNear.break();
  };
  const handle = (peer: string, out: Direction, into: Direction): StreamHandle => ({
    id: randomUUID(),
    peer,
    protocol,
    read: into.read,
    write: (bytes) => out.write({ type: "bytes", bytes }),
    end: out.write({ type: "end", outcome: "whole" }),
    abort: () => Effect.sync(both),
  });
  // A handle's `peer` is who is at its other end.
  return { near: handle(peers.far, toFar, toNear), far: handle(peers.near, toNear, toFar) };
}

class Direction {
  readonly #queue = Effect.runSync(Queue.bounded<StreamChunk>(4));
  #last: StreamChunk | undefined;
  #broken = false;

  readonly read: Effect.Effect<StreamChunk, TransportError> = Effect.suspend(() => {
    if (this.#last !== undefined) return Effect.succeed(this.#last);
    // As a dead connection does: the stream ends, without an error.
    if (this.#broken) return Effect.succeed({ type: "end", outcome: "broken" });
    return Effect.map(Queue.take(this.#queue), (chunk) => {
      if (chunk.type === "end") this.#last = chunk;
      return chunk;
    });
  });

  write(chunk: StreamChunk): Effect.Effect<void, TransportError> {
    return Effect.suspend(() =>
      this.#broken
        ? Effect.fail(new TransportError({ code: "stream-reset", detail: "reset" }))
        : Effect.asVoid(Queue.offer(this.#queue, chunk))
    );
  }

  break(): void {
    this.#broken = true;
    // A reader that waits is told.
    Queue.offerUnsafe(this.#queue, { type: "end", outcome: "broken" });
  }
}

/** Reads a stream to its end. */
export function readAll(stream: StreamHandle): Effect.Effect<{ text: string; outcome: string }, TransportError> {
  return Effect.gen(function* () {
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      const chunk: StreamChunk = yield* stream.read;
      if (chunk.type === "end") return { text: text + decoder.decode(), outcome: chunk.outcome };
      text += decoder.decode(chunk.bytes, { stream: true });
    }
  });
}

/** Writes text and half-closes. */
export function writeAll(stream: StreamHandle, text: string): Effect.Effect<void, TransportError> {
  return Effect.andThen(stream.write(new TextEncoder().encode(text)), stream.end);
}

/** A network whose answers a test gives; what is pushed goes to whoever receives. */
export interface FakeNetwork extends JobNetwork {
  /** Receives that run now. */
  readonly receives: { readonly peers: readonly string[] | undefined; push(stream: StreamHandle): void }[];
}

/**
 * @param answers What requests and opened streams get; without an answer they fail. The peers are the existing network's, which
 * do not know our protocols, unless `ours` is set.
 */
export function fakeNetwork(answers: {
  request?: (peer: string, protocol: string, message: unknown) => Effect.Effect<unknown, TransportError>;
  openStream?: (peer: string, protocol: StreamProtocol) => Effect.Effect<StreamHandle, TransportError>;
  ours?: boolean;
}): FakeNetwork {
  const none = (detail: string) => Effect.fail(new TransportError({ code: "not-connected", detail }));
  const receives: { peers: readonly string[] | undefined; push(stream: StreamHandle): void }[] = [];
  return {
    receives,
    request: (peer, protocol, message) =>
      (answers.request?.(peer, protocol, message) ?? none(peer)) as ReturnType<JobNetwork["request"]> as never,
    openStream: (peer, [protocol, fallback]) => {
      const spoken = protocol.endsWith("/2") && answers.ours !== true ? fallback : protocol;
      return spoken === undefined
        ? Effect.fail(new TransportError({ code: "unsupported", detail: protocol }))
        : answers.openStream?.(peer, spoken) ?? none(peer);
    },
    receive: ({ peers }) =>
      Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => {
            const queue = Effect.runSync(Queue.unbounded<StreamHandle>());
            const entry = { queue, peers, push: (stream: StreamHandle) => void Queue.offerUnsafe(queue, stream) };
            receives.push(entry);
            return entry;
          }),
          (entry) => Effect.sync(() => void receives.splice(receives.indexOf(entry), 1)),
        ),
        ({ queue }): PushReceiver => ({ next: Queue.take(queue), allow: () => {}, keep: () => {}, forget: () => {} }),
      ),
  };
}

/** Runs a scoped Effect that stays: its value, and how to close it. */
export async function holdOpen<A, E>(
  scoped: Effect.Effect<A, E, import("effect").Scope.Scope>,
): Promise<{ readonly value: A; close(): Promise<void> }> {
  let opened: (value: A) => void = () => {};
  let failed: (error: unknown) => void = () => {};
  const value = new Promise<A>((resolve, reject) => {
    opened = resolve;
    failed = reject;
  });
  const fiber = Effect.runFork(
    Effect.scoped(Effect.andThen(Effect.tap(scoped, (a) => Effect.sync(() => opened(a))), Effect.never)),
  );
  fiber.addObserver((exit) => {
    if (Exit.isFailure(exit)) failed(exit.cause);
  });
  return { value: await value, close: () => Effect.runPromise(Fiber.interrupt(fiber)) };
}
