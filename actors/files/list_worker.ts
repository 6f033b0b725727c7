/**
 * The thread that reads a large file of revocation lists: the event loop of the node never waits for it.
 *
 * What it finds goes back as plain data; the tables of entries lie in shared memory and are not copied.
 *
 * @module
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import * as Result from "effect/Result";
import { parseCertificate } from "../../pki/certificate.ts";
import { ListReader, type LocatedList } from "../../pki/list_reader.ts";
import type { TrustProblem } from "../../pki/trust_error.ts";

/** What the thread is asked. */
export interface ListWork {
  readonly path: string;
  readonly bytesMax: number;
  /** DER of the bundle's CAs. */
  readonly cas: readonly Uint8Array[];
  readonly profile: "network" | "rfc5280" | undefined;
}

/** What it says, once for each file. */
export type ListWorkSaid =
  | { readonly type: "lists"; readonly lists: readonly LocatedList[] }
  | { readonly type: "problem"; readonly problem: Omit<TrustProblem, "refusal"> }
  | { readonly type: "too-large" }
  /** An error of the file system. */
  | { readonly type: "unreadable"; readonly code: string };

const chunkBytes = 256 * 1024;

/** Reads the file from beginning to end, a chunk at a time. */
function work({ path, bytesMax, cas, profile }: ListWork): ListWorkSaid {
  const file = openSync(path, "r");
  try {
    const { size } = fstatSync(file);
    if (size > bytesMax) return { type: "too-large" };
    const authorities = cas.map((der) => Result.getOrThrow(parseCertificate(der))); // they parsed before
    const reader = new ListReader({ cas: authorities, profile, shared: true, sizeBytes: size });
    const chunk = new Uint8Array(chunkBytes);
    let read = 0;
    for (let got = readSync(file, chunk); got > 0; got = readSync(file, chunk)) {
      read += got;
      if (read > bytesMax) return { type: "too-large" };
      reader.push(chunk.subarray(0, got));
    }
    return Result.match(reader.finish(), {
      onSuccess: (lists) => ({ type: "lists", lists }),
      onFailure: ({ input, problem, line, detail, hint }) => ({
        type: "problem",
        problem: { input, problem, line, detail, hint },
      }),
    });
  } catch (error) {
    if (error instanceof Error && "code" in error) return { type: "unreadable", code: String(error.code) };
    throw error;
  } finally {
    closeSync(file);
  }
}

parentPort?.on("message", (asked: ListWork) => parentPort?.postMessage(work(asked) satisfies ListWorkSaid));
