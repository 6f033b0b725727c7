/**
 * What a node trusts at one moment: anchors, revocation lists, policy, and a generation number that grows with each
 * change. Immutable: a change of trust is a new snapshot.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { Data, Result } from "effect";
import { sameBytes } from "./bytes.ts";
import { type Certificate, type KeyAlgorithm, parseCertificate, type Role } from "./certificate.ts";
import {
  compareAge,
  type CrlFloor,
  findRevocation,
  floorKeyOf,
  isSignedBy,
  parseCrl,
  type RevocationIndex,
  type RevocationList,
  wasVerified,
} from "./crl.ts";
import { parsePem, type PemBlock } from "./pem.ts";
import { CrlRollback, CrlSignature } from "./refusal.ts";
import { verifySignature } from "./signature.ts";
import { readWarnings, type TrustWarning } from "./trust_warning.ts";

/** What a node accepts. The strict choice is the default in each case. */
export interface Policy {
  /** Key algorithms of leaves and of CAs (RSA means 2048 bits or more). */
  readonly leafAlgorithms: readonly KeyAlgorithm[];
  readonly caAlgorithms: readonly KeyAlgorithm[];
  /** How long past its `nextUpdate` a revocation list still counts, in milliseconds. */
  readonly crlGraceMs: number;
  /** Whether a leaf must carry a role in its URI SAN. */
  readonly roles: "require" | "optional";
  /** Roles that may connect; all of them by default. */
  readonly allowedRoles: readonly Role[];
  /**
   * OIDs of the purposes that every extended key usage on a path must allow; serverAuth and clientAuth by default.
   * Not for the configuration of nodes: for programs that verify other certificates than theirs.
   */
  readonly purposes?: readonly string[];
}

/** Ed25519 only, a day of grace for lists, roles optional, every role may connect. */
export const defaultPolicy: Policy = {
  leafAlgorithms: ["ed25519"],
  caAlgorithms: ["ed25519"],
  crlGraceMs: 24 * 60 * 60 * 1_000,
  roles: "optional",
  allowedRoles: ["gateway", "scheduler", "worker", "data"],
};

/** What a node trusts at one moment. */
export interface TrustSnapshot {
  /** Grows by one with each change of trust on this node. */
  readonly generation: number;
  readonly anchors: readonly Certificate[];
  /** Changes exactly when the set of anchors or the policy changed: signatures are repeated only then. */
  readonly anchorsId: string;
  /** One index per issuer that has a list; undefined when no revocation list is configured. */
  readonly revocation: RevocationIndex | undefined;
  readonly policy: Policy;
}

/** CA certificates of one bundle. Every search looks at each, so that the number bounds its cost. */
export const anchorsMax = 1_000;
/** Revocation lists of one file. */
export const listsMax = 1_000;

/** A trust bundle or a file of revocation lists that no snapshot can be made of. Which file it is, the caller knows. */
export class TrustError extends Data.TaggedError("TrustError")<{
  readonly input: "trust_pem" | "crls_pem";
  readonly problem:
    | "pem"
    | "empty"
    | "wrong-label"
    | "certificate"
    | "no-ca"
    | "crl"
    | "crl-signature"
    | "crl-rollback"
    | "too-many";
  /** Line of the PEM block at fault, from 1; undefined where it is the whole. */
  readonly line: number | undefined;
  readonly detail: string;
  readonly hint: string;
  /** The refusal it amounts to, where there is one: `crl-signature` or `crl-rollback`. */
  readonly refusal?: CrlSignature | CrlRollback;
}> {
  override get message(): string {
    const where = this.line === undefined ? "" : ` at line ${this.line}`;
    return `Cannot use ${this.input}${where}: ${this.detail}`;
  }
}

/** What {@linkcode makeTrustSnapshot} reads. */
export interface TrustInput {
  /** Text of `trust_pem`: every CA certificate in it becomes an anchor, intermediates too. */
  readonly trustPem: string;
  /** Text of `crls_pem`: any number of lists of any issuers. Undefined where none is configured. */
  readonly crlsPem?: string | undefined;
  readonly policy: Policy;
  readonly generation: number;
  /** The time for the warnings; refuses nothing. */
  readonly at: Date;
  /** The marks made before: a list with a lower number than its issuer's mark is refused. */
  readonly crlFloor?: CrlFloor | undefined;
  /** The snapshot before: lists in it that were found good on some peer's path since then raise the marks. */
  readonly previous?: TrustSnapshot | undefined;
}

/** What {@linkcode makeTrustSnapshot} makes. */
export interface TrustMade {
  readonly snapshot: TrustSnapshot;
  readonly warnings: readonly TrustWarning[];
  /**
   * To be handed to the next call: the highest CRL numbers seen up to now, of lists whose signature was found good.
   * A list that nobody could check yet makes no mark: a forged one would lock the right one out.
   */
  readonly crlFloor: CrlFloor;
}

/**
 * Makes a snapshot of a trust bundle and revocation lists.
 *
 * A certificate in the bundle that is no CA is no anchor, and neither is a CA that a list of its issuer revokes, where
 * both issuer and list are given: also a list past its next update revokes. A list must be signed by an anchor of its
 * name, where there is one; the lists of issuers that only peers will send are checked on the path.
 *
 * @returns The snapshot with what an operator should know about it; or the first thing that is wrong.
 */
export function makeTrustSnapshot(input: TrustInput): Result.Result<TrustMade, TrustError> {
  return Result.gen(function* () {
    const certificates = yield* readBundle(input.trustPem);
    const cas = certificates.filter(({ basicConstraints }) => basicConstraints?.ca === true);
    if (cas.length === 0) {
      return yield* refuse("trust_pem", "no-ca", undefined, "no certificate in it is a CA's", caHint);
    }
    const lists = input.crlsPem === undefined ? [] : yield* readLists(input.crlsPem, cas);
    const crlFloor = yield* raiseFloor(input, lists);
    const newest = lists.map(({ list }) => list).sort((a, b) => compareAge(b, a));
    const revoked = cas.filter((ca) => isRevokedByBundle(ca, cas, newest));
    const anchors = cas.filter((ca) => !revoked.includes(ca));
    const revocation = input.crlsPem === undefined ? undefined : { lists: newest };
    const { policy, generation } = input;
    const snapshot = { generation, anchors, anchorsId: identify(anchors, policy), revocation, policy };
    const leaves = certificates.filter((certificate) => !cas.includes(certificate));
    return { snapshot, warnings: readWarnings(snapshot, { leaves, revoked, at: input.at }), crlFloor };
  });
}

const caHint = "Put the CA certificates (root, intermediates) into it: cat intermediate.pem root.pem > ca-bundle.pem";
const listHint =
  "Generate the lists again (hypha-certutil gen-crl) and put one behind the other: cat *.crl.pem > crls.pem";

function readBundle(text: string): Result.Result<readonly Certificate[], TrustError> {
  return Result.gen(function* () {
    const blocks = yield* readBlocks("trust_pem", text, { labels: ["CERTIFICATE"], max: anchorsMax, hint: caHint });
    const certificates = new Map<string, Certificate>();
    for (const [index, { der, line }] of blocks.entries()) {
      const parsed = parseCertificate(der, index);
      if (Result.isFailure(parsed)) {
        const { detail, hint } = parsed.failure;
        return yield* refuse("trust_pem", "certificate", line, `malformed certificate: ${detail}`, hint);
      }
      certificates.set(parsed.success.fingerprint, parsed.success);
    }
    return [...certificates.values()];
  });
}

interface LocatedList {
  readonly list: RevocationList;
  readonly line: number;
}

function readLists(text: string, cas: readonly Certificate[]): Result.Result<readonly LocatedList[], TrustError> {
  return Result.gen(function* () {
    const labels = ["X509 CRL", "CRL"];
    const blocks = yield* readBlocks("crls_pem", text, { labels, max: listsMax, hint: listHint });
    const lists: LocatedList[] = [];
    for (const { der, line } of blocks) {
      const parsed = parseCrl(der);
      if (Result.isFailure(parsed)) {
        const { detail, hint } = parsed.failure;
        return yield* refuse("crls_pem", "crl", line, `malformed revocation list: ${detail}`, hint);
      }
      const refusal = refuseForged(parsed.success, cas);
      if (refusal !== undefined) {
        const { message, hint } = refusal;
        return yield* refuse("crls_pem", "crl-signature", line, message, hint, refusal);
      }
      lists.push({ list: parsed.success, line });
    }
    return lists;
  });
}

/**
 * Why a list cannot be its issuer's, as far as the bundle tells: CAs of that name are in it and none signed the list.
 * A CA whose key identifier is not the one that the list names is left out: it may be an older key of the same CA.
 */
function refuseForged(list: RevocationList, cas: readonly Certificate[]): CrlSignature | undefined {
  const { issuer, authorityKeyId } = list;
  const possible = cas.filter(({ subject, subjectKeyId }) =>
    sameBytes(subject.der, issuer.der) &&
    (authorityKeyId === undefined || subjectKeyId === undefined || authorityKeyId === subjectKeyId)
  );
  if (possible.length === 0 || possible.some((ca) => isSignedBy(list, ca))) return undefined;
  return new CrlSignature({ issuer: issuer.text, detail: "signature does not verify under the CA of that name" });
}

function readBlocks(
  input: "trust_pem" | "crls_pem",
  text: string,
  { labels, max, hint }: { readonly labels: readonly string[]; readonly max: number; readonly hint: string },
): Result.Result<readonly PemBlock[], TrustError> {
  const parsed = parsePem(text);
  if (Result.isFailure(parsed)) return refuse(input, "pem", parsed.failure.line, parsed.failure.detail, hint);
  const blocks = parsed.success;
  if (blocks.length === 0) return refuse(input, "empty", undefined, `no block ${labels[0]} in it`, hint);
  const wrong = blocks.find(({ label }) => !labels.includes(label));
  if (wrong !== undefined) {
    return refuse(input, "wrong-label", wrong.line, `a block ${wrong.label}, where ${labels[0]} is expected`, hint);
  }
  if (blocks.length > max) return refuse(input, "too-many", blocks[max]!.line, `more than ${max} blocks`, hint);
  return Result.succeed(blocks);
}

/** Refuses a file whose newest list of a CA is older than one seen before, and raises the marks. */
function raiseFloor(
  { crlFloor, previous }: TrustInput,
  lists: readonly LocatedList[],
): Result.Result<CrlFloor, TrustError> {
  const floor: Record<string, string> = { ...crlFloor };
  const mark = (list: RevocationList) => {
    const key = floorKeyOf(list);
    if (wasVerified(list) && BigInt(list.number) > BigInt(floor[key] ?? -1)) floor[key] = list.number;
  };
  for (const list of previous?.revocation?.lists ?? []) mark(list);
  const newest = new Map<string, LocatedList>();
  for (const located of lists) {
    const other = newest.get(floorKeyOf(located.list));
    if (other === undefined || compareAge(located.list, other.list) > 0) newest.set(floorKeyOf(located.list), located);
  }
  for (const [key, { list, line }] of newest) {
    const seen = floor[key];
    if (seen !== undefined && BigInt(list.number) < BigInt(seen)) {
      const refusal = new CrlRollback({ issuer: list.issuer.text, number: list.number, seen });
      return refuse("crls_pem", "crl-rollback", line, refusal.message, refusal.hint, refusal);
    }
    mark(list);
  }
  return Result.succeed(floor);
}

/** Whether a list of the CA's issuer revokes it, where an issuer in the bundle signed both. */
function isRevokedByBundle(ca: Certificate, cas: readonly Certificate[], lists: readonly RevocationList[]): boolean {
  return lists.some((list) => {
    if (!sameBytes(list.issuer.der, ca.issuer.der) || findRevocation(list, ca.serial) === undefined) return false;
    return cas.some((issuer) =>
      sameBytes(issuer.subject.der, ca.issuer.der) && isSignedBy(list, issuer) &&
      verifySignature({ data: ca.tbs, algorithm: ca.signatureAlgorithm, signature: ca.signature }, issuer.publicKey)
    );
  });
}

/** A hash over everything that decides which paths exist. The order of the bundle does not count. */
function identify(anchors: readonly Certificate[], policy: Policy): string {
  const prints = anchors.map(({ fingerprint }) => fingerprint).sort();
  const ruled = Object.entries(policy).sort(([a], [b]) => a < b ? -1 : 1);
  return createHash("sha256").update(JSON.stringify([prints, ruled])).digest("hex");
}

function refuse(
  input: TrustError["input"],
  problem: TrustError["problem"],
  line: number | undefined,
  detail: string,
  hint: string,
  refusal?: CrlSignature | CrlRollback,
): Result.Result<never, TrustError> {
  return Result.fail(
    new TrustError({ input, problem, line, detail, hint, ...(refusal === undefined ? {} : { refusal }) }),
  );
}
