/**
 * Reading of the trust bundle and the revocation lists into a snapshot.
 *
 * @module
 */
import { Effect } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { CrlFloor } from "../pki/crl.ts";
import {
  makeTrustSnapshot,
  type Policy,
  readAuthorities,
  type TrustError,
  type TrustMade,
  type TrustSnapshot,
} from "../pki/trust.ts";
import { readLists } from "./files/read_lists.ts";
import { readWhole } from "./files/read_whole.ts";
import { LoadError, type LoadProblem } from "./load_error.ts";

/** Paths of the two files. */
export interface TrustPaths {
  readonly trustPem: string;
  /** Undefined where no revocation list is configured. */
  readonly crlsPem: string | undefined;
}

/** What a snapshot is made of, beside the files. */
export interface TrustTerms {
  readonly policy: Policy;
  readonly generation: number;
  readonly at: Date;
  /** The highest CRL numbers seen so far. */
  readonly crlFloor: CrlFloor;
  /** The snapshot in force: its lists that were found good on a peer's path count as seen. */
  readonly previous?: TrustSnapshot | undefined;
}

/** A thousand CA certificates of 64 kB, the most that a snapshot takes, as base64. */
export const trustBytesMax = 96 * 1024 * 1024;
/** A list of a million entries is 48 MB of base64; `pem.ts` takes 256 MB. */
export const crlsBytesMax = 256 * 1024 * 1024;

/** Loads both files and makes a snapshot of them. Large files of lists are read in a thread of their own. */
export function loadTrust(paths: TrustPaths, terms: TrustTerms): Effect.Effect<TrustMade, LoadError, FileSystem> {
  const { trustPem, crlsPem } = paths;
  return Effect.gen(function* () {
    const trust = yield* readWhole({
      path: trustPem,
      what: "trust bundle",
      bytesMax: trustBytesMax,
      key: "trust_pem",
    });
    const lists = crlsPem === undefined ? undefined : yield* loadLists(crlsPem, trust.text, terms.policy);
    return yield* Effect.fromResult(makeTrustSnapshot({ ...terms, trustPem: trust.text, crlsPem: lists }));
  }).pipe(Effect.mapError((error) => error._tag === "TrustError" ? located(error, paths) : error));
}

function loadLists(path: string, trustPem: string, policy: Policy) {
  return Effect.gen(function* () {
    const cas = yield* Effect.fromResult(readAuthorities(trustPem));
    const options = { path, what: "file of revocation lists", bytesMax: crlsBytesMax, key: "crls_pem" };
    return yield* readLists(options, { cas, policy });
  });
}

function located({ input, problem, line, detail, hint }: TrustError, { trustPem, crlsPem }: TrustPaths): LoadError {
  const kind: LoadProblem = problem === "empty" || problem === "no-ca"
    ? "empty"
    : problem === "too-many"
    ? "too-large"
    : problem === "crl-signature" || problem === "crl-rollback"
    ? "rejected"
    : "malformed";
  const file = input === "trust_pem" ? trustPem : crlsPem ?? trustPem;
  return new LoadError({ file, line, problem: kind, detail, mend: hint });
}
