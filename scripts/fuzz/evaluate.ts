/**
 * Our verdict on a case.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Result } from "effect";
import { type Path, verifyPath } from "../../pki/path.ts";
import { formatPem } from "../../pki/pem.ts";
import { defaultPolicy, makeTrustSnapshot, type Policy, type TrustSnapshot } from "../../pki/trust.ts";
import { evaluatedAt } from "./worlds.ts";

/** The input of an evaluation, as DER. */
export interface FuzzCase {
  readonly chain: readonly Uint8Array[];
  readonly anchors: readonly Uint8Array[];
  readonly lists: readonly Uint8Array[] | undefined;
}

/** The default, without the grace for lists that OpenSSL does not know. */
const fuzzPolicy: Policy = { ...defaultPolicy, crlGraceMs: 0 };

/** PEM of several. */
export function pemOf(label: string, ders: readonly Uint8Array[]): string {
  return ders.map((der) => formatPem(label, der)).join("");
}

/** `accepted`, or the code of the refusal; a file that cannot be loaded counts as a refusal, `trust:` in front. */
export function evaluate(given: FuzzCase): string {
  const snapshot = snapshotOf(given);
  if (typeof snapshot === "string") return snapshot;
  const outcome = verifyPath(given.chain, snapshot, { at: evaluatedAt });
  return Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;
}

/** The path by which we accept; undefined where we refuse. */
export function pathOf(given: FuzzCase): Path | undefined {
  const snapshot = snapshotOf(given);
  if (typeof snapshot === "string") return undefined;
  const outcome = verifyPath(given.chain, snapshot, { at: evaluatedAt });
  return Result.isSuccess(outcome) ? outcome.success.path : undefined;
}

let last: { readonly key: string; readonly snapshot: TrustSnapshot | string } | undefined;

/** Most mutations leave trust as it is. */
function snapshotOf({ anchors, lists }: FuzzCase): TrustSnapshot | string {
  const texts = (group: readonly Uint8Array[]) => group.map((der) => Buffer.from(der).toString("latin1")).join("|");
  const key = `${texts(anchors)} ${lists === undefined ? "no lists" : texts(lists)}`;
  if (last?.key !== key) last = { key, snapshot: makeSnapshot(anchors, lists) };
  return last.snapshot;
}

function makeSnapshot(anchors: readonly Uint8Array[], lists: readonly Uint8Array[] | undefined) {
  const trustPem = pemOf("CERTIFICATE", anchors);
  const crlsPem = lists === undefined ? undefined : pemOf("X509 CRL", lists);
  const made = makeTrustSnapshot({ trustPem, crlsPem, policy: fuzzPolicy, generation: 1, at: evaluatedAt });
  return Result.isSuccess(made) ? made.success.snapshot : `trust:${made.failure.problem}`;
}
