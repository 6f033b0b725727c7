/**
 * A request's body: bounded in size and time, JSON, of the right shape.
 *
 * @module
 */
import type { IncomingMessage } from "node:http";
import { Effect, Result } from "effect";
import type { MalformedMessage } from "../../../transport/protocols/mod.ts";
import type { JobLimits } from "../limits.ts";
import { type BridgeProblem, plainProblem } from "./problem.ts";

const json = /^application\/(?:json|[a-z0-9.+-]+\+json)\s*(?:;|$)/i;

/** Reads the JSON value of a request. */
export function readJson(
  request: IncomingMessage,
  limits: Pick<JobLimits, "bodyBytesMax" | "bodyMs">,
): Effect.Effect<unknown, BridgeProblem> {
  return Effect.gen(function* () {
    if (!json.test(request.headers["content-type"] ?? "")) {
      return yield* Effect.fail(plainProblem(415, "Expected request with `Content-Type: application/json`"));
    }
    const text = yield* readText(request, limits);
    return yield* Effect.try({
      try: (): unknown => JSON.parse(text),
      catch: (error) => plainProblem(400, `Failed to parse the request body as JSON: ${(error as Error).message}`),
    });
  });
}

/** The value that was read, or the problem for a wrong shape. */
export function shaped<A>(read: Result.Result<A, MalformedMessage>): Effect.Effect<A, BridgeProblem> {
  return Result.isSuccess(read)
    ? Effect.succeed(read.success)
    : Effect.fail(wrongShape(read.failure.path, read.failure.reason));
}

/** 422. */
export function wrongShape(path: string, reason: string): BridgeProblem {
  const where = path === "" ? "" : `${path}: `;
  return plainProblem(422, `Failed to deserialize the JSON body into the target type: ${where}${reason}`);
}

/** A field of a JSON object; other fields are ignored. */
export function field(value: unknown, key: string): Effect.Effect<unknown, BridgeProblem> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return Effect.fail(wrongShape("", "expected an object"));
  }
  return Effect.succeed(Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined);
}

/** A field that must be text. */
export function textField(value: unknown, key: string): Effect.Effect<string, BridgeProblem> {
  return Effect.flatMap(
    field(value, key),
    (found) =>
      typeof found === "string"
        ? Effect.succeed(found)
        : Effect.fail(wrongShape(key, found === undefined ? `missing field \`${key}\`` : "expected a string")),
  );
}

function readText(
  request: IncomingMessage,
  { bodyBytesMax: bytesMax, bodyMs }: Pick<JobLimits, "bodyBytesMax" | "bodyMs">,
): Effect.Effect<string, BridgeProblem> {
  const tooLarge = () => Effect.fail(plainProblem(413, `Body is over ${bytesMax} bytes`));
  if (Number(request.headers["content-length"] ?? 0) > bytesMax) return tooLarge();
  return Effect.callback((resume) => {
    const pieces: Uint8Array[] = [];
    let sizeBytes = 0;
    const onData = (piece: Uint8Array) => {
      sizeBytes += piece.length;
      if (sizeBytes <= bytesMax) return void pieces.push(piece);
      stop();
      resume(tooLarge());
    };
    const onEnd = () => {
      stop();
      const whole = new Uint8Array(sizeBytes);
      let at = 0;
      for (const piece of pieces) {
        whole.set(piece, at);
        at += piece.length;
      }
      resume(Effect.try({
        try: () => new TextDecoder("utf-8", { fatal: true }).decode(whole),
        catch: () => plainProblem(400, "Failed to parse the request body as JSON: not UTF-8"),
      }));
    };
    const onBroken = () => {
      stop();
      resume(Effect.fail(plainProblem(400, "Body broke off")));
    };
    // A plain timer: a race of Effects would cost each request two fibers.
    const timer = setTimeout(() => {
      stop();
      resume(Effect.fail(plainProblem(408, `Body did not arrive within ${bodyMs} ms`)));
    }, bodyMs);
    const stop = () => {
      clearTimeout(timer);
      request.off("data", onData).off("end", onEnd).off("error", onBroken);
      request.pause();
    };
    request.on("data", onData).on("end", onEnd).on("error", onBroken);
    return Effect.sync(stop);
  });
}
