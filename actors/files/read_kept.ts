/**
 * Reading of the lists that an earlier run kept in the state directory.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { Certificate } from "../../pki/certificate.ts";
import { crlBytesMax, type HeldCrl } from "../../pki/crl.ts";
import { type CrlHighWaterMarks, placeOf } from "../../pki/crl_marks.ts";
import { CrlReader, type LocatedCrl } from "../../pki/crl_reader.ts";
import type { CrlSource, Policy } from "../../pki/trust.ts";
import type { Report } from "../runtime/ports.ts";
import { apartBytesMin, readCrls } from "./read_crls.ts";
import type { KeptFile, OpenedState } from "./state_directory.ts";

/** What was kept of a domain. */
export interface KeptRead {
  readonly lists: readonly HeldCrl[];
  /** What each file holds, by its path: hashes, joined by spaces. */
  readonly held: ReadonlyMap<string, string>;
  readonly reports: readonly Report[];
}

/** Nothing was kept. */
export const noKept: KeptRead = { lists: [], held: new Map(), reports: [] };

/** What the kept lists are read for. */
export interface KeptFor {
  readonly cas: readonly Certificate[];
  readonly policy: Policy;
  /** The lists of the domain's own file: a large list that is in it too is not read twice. */
  readonly source: CrlSource;
}

/**
 * Reads the kept lists of a domain. Never fails: a file that is torn or no list is removed, with a warning, and written
 * again when such lists are in force; one that cannot be read is passed over, with a warning.
 */
export function readKept(
  { kept, marks }: OpenedState,
  domain: string,
  { cas, policy, source }: KeptFor,
): Effect.Effect<KeptRead, never, FileSystem> {
  return Effect.gen(function* () {
    const lists: HeldCrl[] = [];
    const held = new Map<string, string>();
    const reports: Report[] = [];
    for (const file of kept.filter((each) => each.domain === domain)) {
      const known = yield* isInSource(file, marks, source);
      if (known !== undefined) {
        lists.push({ ...known.list, vouchedBy: file.key });
        held.set(file.path, known.hash);
        continue;
      }
      const read = yield* Effect.result(readOne(file, { cas, policy }));
      if (Result.isSuccess(read)) {
        lists.push(...read.success);
        held.set(file.path, read.success.map(({ sha256 }) => sha256).join(" "));
      } else reports.push(yield* putAside(file, read.failure));
    }
    return { lists, held, reports };
  });
}

/** A large kept list that the domain's own file has too: as it was read from there, and its hash. */
function isInSource({ path, domain, key, scope, kind }: KeptFile, marks: CrlHighWaterMarks, source: CrlSource) {
  const hash = kind === "other" ? undefined : marks[placeOf(domain, key, scope)]?.sha256[kind];
  const twin = isRead(source) && hash !== undefined ? source.find(({ list }) => list.sha256 === hash) : undefined;
  if (hash === undefined || twin === undefined || (twin.list.sizeBytes ?? 0) < apartBytesMin) {
    return Effect.succeed(undefined);
  }
  return Effect.flatMap(FileSystem, (files) =>
    Effect.match(files.stat(path), {
      onSuccess: ({ size }) => Number(size) === twin.list.sizeBytes ? { list: twin.list, hash } : undefined,
      onFailure: () => undefined,
    }));
}

const isRead = (source: CrlSource): source is readonly LocatedCrl[] =>
  typeof source !== "string" && !(source instanceof Uint8Array);

function readOne({ path, key }: KeptFile, trust: Pick<KeptFor, "cas" | "policy">) {
  return Effect.gen(function* () {
    const options = { path, what: "kept list", bytesMax: crlBytesMax, key: "state_dir" };
    const source = yield* readCrls(options, trust);
    const located = isRead(source) ? source : yield* Effect.fromResult(parse(source, trust));
    return located.map(({ list }): HeldCrl => ({ ...list, vouchedBy: key }));
  });
}

function parse(source: string | Uint8Array, { cas, policy }: Pick<KeptFor, "cas" | "policy">) {
  const bytes = typeof source === "string" ? Buffer.from(source) : source;
  const reader = new CrlReader({ cas, profile: policy.profile, sizeBytes: bytes.length });
  reader.push(bytes);
  return reader.finish();
}

function putAside({ path }: KeptFile, error: Error & { readonly _tag: string }) {
  const broken = error._tag === "TrustError";
  const message = broken
    ? `${path} holds no list that can be used, and was removed: ${error.message}`
    : `Cannot use what was kept before: ${error.message}`;
  const report: Report = { level: "warn", event: "state.broken", message, fields: { file: path } };
  return Effect.flatMap(
    FileSystem,
    (files) => Effect.as(broken ? Effect.ignore(files.remove(path, { force: true })) : Effect.void, report),
  );
}
