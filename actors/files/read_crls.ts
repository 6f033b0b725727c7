/**
 * Reads `crls_pem`: a small file here, a large one in a separate thread.
 *
 * @module
 */
import type { Worker } from "node:worker_threads";
import { Data, Effect } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { Certificate } from "../../pki/certificate.ts";
import { crlBytesMax } from "../../pki/crl.ts";
import type { CrlSource, Policy } from "../../pki/trust.ts";
import { TrustError } from "../../pki/trust_error.ts";
import { startThread } from "../runtime/thread.ts";
import { LoadError } from "./load_error.ts";
import type { KeepTarget } from "./crl_finder.ts";
import type { CrlWork, CrlWorkEvent, HashWork, KeepWork, WrittenFile } from "./crl_worker.ts";
import { readingMs, withinDeadline } from "./patient_files.ts";
import { readBytes, type ReadOptions } from "./read_whole.ts";

/** A file of at least this many bytes is read apart. Smaller ones are read in less time than a thread takes to start. */
export const apartBytesMin = 256 * 1024;

/** The thread could not be started, or died: the file is read here instead. */
class ApartFailed extends Data.TaggedError("ApartFailed")<{ readonly detail: string }> {
  override get message(): string {
    return this.detail;
  }
}

/**
 * Reads a file of revocation lists.
 *
 * @param options The file.
 * @param trust The CAs of the bundle, under whose keys the lists are checked while they are read, and the policy.
 * @returns What `makeTrustSnapshot` takes: bytes, or lists that were read already.
 */
export function readCrls(
  options: ReadOptions,
  trust: { readonly cas: readonly Certificate[]; readonly policy: Policy },
): Effect.Effect<CrlSource, LoadError | TrustError, FileSystem> {
  const whole = Effect.map(readBytes(options), ({ bytes }) => bytes);
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    const size = yield* withinDeadline(options.path, Effect.uninterruptible(files.stat(options.path))).pipe(
      Effect.map(({ type, size }) => type === "File" ? Number(size) : 0),
      Effect.catch(() => Effect.succeed(0)), // the reading itself reports the problem
    );
    if (size < apartBytesMin || size > options.bytesMax) return yield* whole;
    return yield* withinDeadline(options.path, readApart(options, trust), readingMs(size)).pipe(
      Effect.catchTag(["ApartFailed", "PlatformError"], (): Effect.Effect<CrlSource, LoadError, FileSystem> => whole),
    );
  });
}

function readApart(
  { path, bytesMax, what, key }: ReadOptions,
  { cas, policy }: { readonly cas: readonly Certificate[]; readonly policy: Policy },
): Effect.Effect<CrlSource, LoadError | TrustError | ApartFailed> {
  const work: CrlWork = { type: "read", path, bytesMax, cas: cas.map(({ der }) => der), profile: policy.profile };
  return Effect.flatMap(askThread(work), (answer): Effect.Effect<CrlSource, LoadError | TrustError | ApartFailed> => {
    switch (answer.type) {
      case "lists":
        return Effect.succeed(answer.lists);
      case "problem":
        return Effect.fail(new TrustError(answer.problem));
      case "too-large": {
        const detail = `the ${what} grows beyond ${bytesMax} bytes`;
        const common = { file: path, line: undefined, mend: `Check ${key}.` };
        return Effect.fail(new LoadError({ ...common, problem: "too-large", detail }));
      }
      case "unreadable":
        return Effect.fail(new ApartFailed({ detail: answer.code })); // the reading in this thread reports the problem
      case "kept":
      case "hashed":
        return Effect.fail(new ApartFailed({ detail: "it answered another question" }));
    }
  });
}

/**
 * Copies lists out of a large file into others, in a separate thread: each file whole or not at all.
 *
 * @returns The written targets: those whose lists were all found.
 */
export function keepApart(
  { source, targets }: { readonly source: string; readonly targets: readonly KeepTarget[] },
): Effect.Effect<readonly WrittenFile[], Error> {
  const work: KeepWork = { type: "keep", source, bytesMax: crlBytesMax * 2, targets };
  return Effect.flatMap(askThread(work), (answer) => {
    if (answer.type === "kept") return Effect.succeed(answer.written);
    // It was removed, or replaced by another kind of file: the next reading reports that.
    if (answer.type !== "unreadable" || answer.code === "ENOENT") return Effect.succeed([]);
    return Effect.fail(new ApartFailed({ detail: answer.code }));
  });
}

/** SHA-256 (hexadecimal) of a large file, made in a separate thread; undefined where that was not possible. */
export function hashApart(path: string, bytesMax: number): Effect.Effect<string | undefined> {
  return askThread({ type: "hash", path, bytesMax }).pipe(
    Effect.map((answer) => answer.type === "hashed" ? answer.sha256 : undefined),
    Effect.catch(() => Effect.succeed(undefined)),
  );
}

/** Asks a thread one thing. */
function askThread(work: CrlWork | HashWork | KeepWork): Effect.Effect<CrlWorkEvent, ApartFailed> {
  return Effect.callback<CrlWorkEvent, ApartFailed>((resume) => {
    const thread = takeThread();
    thread.removeAllListeners();
    const fail = (detail: string) => resume(Effect.fail(new ApartFailed({ detail })));
    const leave = () => thread.removeAllListeners();
    thread.once("message", (message: CrlWorkEvent) => {
      leave();
      giveBack(thread);
      resume(Effect.succeed(message));
    });
    thread.once("error", (error) => fail(String(error)));
    thread.once("exit", (code) => fail(`it ended with ${code}`));
    thread.ref();
    thread.postMessage(work);
    // It ends only when a call of the system in it does.
    return Effect.promise(() => {
      leave();
      return thread.terminate();
    });
  }).pipe(Effect.catchDefect((error) => Effect.fail(new ApartFailed({ detail: String(error) }))));
}

/**
 * Deno's thread that waits for its next file. Starting one stops Deno's event loop for 40 to 100 ms (on Node for one), so
 * that it is started once, with the first large file, which is read before a node listens.
 */
let waiting: Worker | undefined;
const keepsThread = "Deno" in globalThis;

function takeThread(): Worker {
  const thread = waiting;
  waiting = undefined;
  if (thread !== undefined) return thread;
  // It makes next to no garbage: a small heap keeps the peak down (Node; Deno has no such limit).
  return startThread("crl_worker", import.meta.url, { resourceLimits: { maxYoungGenerationSizeMb: 2 } });
}

function giveBack(thread: Worker): void {
  if (!keepsThread || waiting !== undefined) return void thread.terminate();
  thread.unref();
  // A thread that dies while it waits is no loss: the next file starts another.
  const forget = () => {
    if (waiting === thread) waiting = undefined;
  };
  thread.once("error", forget);
  thread.once("exit", forget);
  waiting = thread;
}
