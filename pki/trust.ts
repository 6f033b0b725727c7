/**
 * What a node trusts at one moment: anchors, revocation lists, policy, and a generation number that grows with each
 * change. Immutable: a change of trust is a new snapshot.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import * as Result from "effect/Result";
import { type Issuers, issuersOf, revokedAmong } from "./bundle_revocation.ts";
import { type Certificate, type MemberRole, parseCertificate } from "./certificate.ts";
import { type CrlRequirement, type HeldCrl, type RevocationIndex } from "./crl.ts";
import { type CrlHighWaterMarks, domainKey } from "./crl_marks.ts";
import { type DomainCrls, joinCrls, type RollbackPolicy, type SeenBefore, unclearAmong } from "./domain_crls.ts";
import { CrlReader, type LocatedCrl } from "./crl_reader.ts";
import { foreignCas } from "./foreign_cas.ts";
import { parsePem } from "./pem.ts";
import type { Policy } from "./policy.ts";
import { parseSpiffeBundle } from "./spiffe_bundle.ts";
import { identifyAnchors, identifyDomains, type TrustDomain, type TrustSnapshot } from "./trust_snapshot.ts";
import { trustDomainNamePattern } from "./trust_domain_name.ts";
import { refuseTrust, TrustError, type TrustProblem } from "./trust_error.ts";
import { readWarnings, type TrustWarning } from "./trust_warning.ts";

export { TrustError } from "./trust_error.ts";
export { defaultPolicy, type Policy } from "./policy.ts";
export { crlsOf, domainOf, domainsOf, type TrustDomain, type TrustSnapshot, widestPolicy } from "./trust_snapshot.ts";
export type { RollbackPolicy } from "./domain_crls.ts";
export { crlsMax, type LocatedCrl } from "./crl_reader.ts";

/** CA certificates of one bundle. Every search visits each of them, so the number bounds its cost. */
export const anchorsMax = 1_000;
/** Trust domains of one node. Each is searched for each chain. */
export const domainsMax = 100;

/** What {@linkcode makeTrustSnapshot} reads. */
export interface TrustInput {
  /** Text of `trust_pem`: every CA certificate in it becomes an anchor, intermediates too. */
  readonly trustPem: string;
  /**
   * Content of `crls_pem`: any number of lists of any issuers, PEM or DER; or lists that a {@linkcode CrlReader} has read
   * already. Undefined where none is configured.
   */
  readonly crlsPem?: CrlSource | undefined;
  /** The policy for certificates of the node's own bundle. */
  readonly policy: Policy;
  /**
   * The node's own trust domain, as in `spiffe://<name>/…`: certificates of its bundle may claim no other. Undefined: they may
   * claim any but those of `domains`.
   */
  readonly ownName?: string | undefined;
  /** Number of the snapshot; each new one has a higher. */
  readonly generation: number;
  /** The time for the warnings; the snapshot does not depend on it. */
  readonly at: Date;
  /** The marks made before: lists older than their mark can revoke, but not clear. */
  readonly crlMarks?: CrlHighWaterMarks | undefined;
  /**
   * {@linkcode TrustMade.lists} of the snapshot before, or what an earlier process kept, by `domainKey`: they are joined with
   * older lists and with lists that contradict them. Lists verified on a peer's path since then raise the marks.
   */
  readonly seenLists?: ReadonlyMap<string, readonly HeldCrl[]> | undefined;
  /** How to treat a list in `crlsPem` that is older than its mark: see {@linkcode RollbackPolicy}. */
  readonly rollback?: RollbackPolicy | undefined;
  /** Whether a certificate of the node's own bundle needs a list. They are required where `crlsPem` is given. */
  readonly crls?: CrlRequirement | undefined;
  /**
   * Lists of the state directory, by `domainKey`: the network's, and those that an earlier process kept. They can revoke; where
   * lists are required they also clear, if they are as new as their mark.
   */
  readonly learned?: ReadonlyMap<string, readonly HeldCrl[]> | undefined;
  /** Other organisations that this node trusts, each for its own name. */
  readonly domains?: readonly DomainInput[] | undefined;
}

/** Lists as text, as bytes, or read already. */
export type CrlSource = string | Uint8Array | readonly LocatedCrl[];

/** One trust domain to be made part of a snapshot. */
export interface DomainInput {
  /** Name of the domain. */
  readonly name: string;
  /** Its CA certificates in PEM, or its SPIFFE bundle (JSON). Undefined where none is known yet: its peers are refused. */
  readonly trust: string | undefined;
  /** `trust` is a bundle of its server, which must have the root with the pin (`markKey`); undefined: a file of the operator. */
  readonly fetched?: TrustDomain["fetched"];
  /** Its revocation lists. */
  readonly crlsPem?: CrlSource | undefined;
  /** How to treat a list in `crlsPem` that is older than its mark: see {@linkcode RollbackPolicy}. */
  readonly rollback?: RollbackPolicy | undefined;
  /** Whether its certificates need a list. They are required where `crlsPem` is given. */
  readonly crls?: CrlRequirement | undefined;
  /** The node's own policy where undefined. */
  readonly policy?: Policy | undefined;
  /** Roles that its certificates may claim; all where undefined. */
  readonly roles?: readonly MemberRole[] | undefined;
}

/** What {@linkcode makeTrustSnapshot} makes. */
export interface TrustMade {
  /** The snapshot. */
  readonly snapshot: TrustSnapshot;
  /** Findings for the operator. */
  readonly warnings: readonly TrustWarning[];
  /**
   * For the next call: the marks up to now, of lists with a verified signature. A list whose signature could not be checked
   * yet makes no mark: a forged list would block the genuine one.
   */
  readonly crlMarks: CrlHighWaterMarks;
  /** The lists of each domain, by `domainKey`, as they were read: those of its file, and those joined with them. */
  readonly lists: ReadonlyMap<string, readonly HeldCrl[]>;
}

/**
 * Makes a snapshot of a trust bundle and revocation lists.
 *
 * A certificate in the bundle that is no CA is no anchor, and neither is a CA that a list of its issuer revokes, where
 * both issuer and list are given; a list past its next update still revokes. A list must be signed by an anchor of its
 * name, where there is one; the lists of issuers that only peers will send are checked on the path. Delta lists are put
 * onto the complete lists that they bring up to date.
 *
 * @returns The snapshot with findings for the operator; or the first error.
 */
export function makeTrustSnapshot(input: TrustInput): Result.Result<TrustMade, TrustError> {
  return Result.gen(function* () {
    const { policy, generation, at, trustPem, crlsPem, rollback, crls, crlMarks = {}, seenLists, ownName } = input;
    const given = input.domains ?? [];
    const problem = refuseDomains(given, ownName);
    if (problem !== undefined) return yield* problem;
    const before: SeenBefore = { marks: crlMarks, lists: seenLists, learned: input.learned };
    const foreign = given.map(({ name }) => name);
    const bundle = { name: undefined, claims: ownName, foreign, trust: trustPem, crlsPem, policy, rollback, crls };
    const made: Made[] = [yield* makeDomain(bundle, before)];
    for (const domain of given) {
      made.push(yield* makeDomain({ ...domain, claims: domain.name, policy: domain.policy ?? policy }, before));
    }
    const all = withoutForeign(made.map((each) => withoutRevoked(each, made)));
    const [own, ...others] = all.map(({ domain }) => domain) as [TrustDomain, ...TrustDomain[]];
    const { anchors, anchorsId: ownAnchorsId, revocation } = own;
    const anchorsId = identifyDomains([own, ...others]);
    const named = {
      ...(others.length === 0 ? {} : { domains: others }),
      ...(ownName === undefined ? {} : { ownName }),
    };
    const snapshot = { generation, anchors, anchorsId, ownAnchorsId, revocation, policy, ...named };
    const warnings = all.flatMap((made) => [...readWarnings(made.domain, { ...made, at }), ...made.warnings]);
    const marks = all.reduce((merged, made) => ({ ...merged, ...made.marks }), crlMarks);
    const lists = new Map(all.map(({ domain: { name }, lists }) => [domainKey(name), lists]));
    return { snapshot, warnings, crlMarks: marks, lists };
  });
}

/** Why these domains cannot be told apart. */
function refuseDomains(domains: readonly DomainInput[], ownName: string | undefined) {
  const stop = (name: string | undefined, problem: TrustProblem["problem"], detail: string, hint: string) =>
    refuse(name, "trust_pem", problem, undefined, detail, hint);
  const hint = "Use lower-case letters, digits, dots, hyphens and underscores.";
  const isName = (name: string) => trustDomainNamePattern.test(name);
  const quoted = (name: string) => JSON.stringify(name.slice(0, 100));
  if (ownName !== undefined && !isName(ownName)) {
    return stop(undefined, "bundle", `${quoted(ownName)} is not the name of a trust domain`, hint);
  }
  const correct = "Correct trust_domains.";
  for (const [index, { name }] of domains.entries()) {
    if (index === domainsMax) return stop(name, "too-many", `more than ${domainsMax} trust domains`, correct);
    if (domains.findIndex((each) => each.name === name) < index) {
      return stop(name, "bundle", "its name is given twice", correct);
    }
    if (name === ownName) return stop(name, "bundle", "its name is this node's own trust_domain", correct);
    if (!isName(name)) {
      return stop(undefined, "bundle", `${quoted(name)} is not the name of a trust domain`, hint);
    }
  }
  return undefined;
}

/** The domain without the anchors that a list of another domain revokes, where a CA of that domain issued both. */
function withoutRevoked(made: Made, all: readonly Made[]): Made {
  const { domain: { anchors } } = made;
  const revoked = all.flatMap((other) => other === made ? [] : revokedAmong(anchors, other.issuers, "kept"));
  if (revoked.length === 0) return made;
  return { ...withAnchors(made, (ca) => !revoked.includes(ca)), revoked: [...made.revoked, ...new Set(revoked)] };
}

/** Fetched domains without the CAs of other fetched domains. A bundle is judged when it is fetched too, by what is known then. */
function withoutForeign(all: readonly Made[]): readonly Made[] {
  const foreign = foreignCas(all.map(({ domain }) => domain).filter(({ fetched }) => fetched !== undefined));
  return all.map((made) => {
    const { domain: { name, fetched, anchors } } = made;
    if (name === undefined || fetched === undefined) return made;
    const holders = new Map(anchors.map((ca) => [ca, foreign(ca, { name, ...fetched })?.name]));
    const dropped = anchors.filter((ca) => holders.get(ca) !== undefined);
    if (dropped.length === 0) return made;
    const warnings = dropped.map((ca): TrustWarning => {
      const { text } = ca.subject;
      const message = `${text} in the bundle of ${name} is a CA of ${holders.get(ca)}, so it is no anchor of ${name}`;
      return { code: "anchor-foreign", level: "warn", subject: text, domain: name, message };
    });
    const left = withAnchors(made, (ca) => !dropped.includes(ca));
    return { ...left, warnings: [...made.warnings, ...warnings] };
  });
}

function withAnchors(made: Made, isKept: (ca: Certificate) => boolean): Made {
  const left = { ...made.domain, anchors: made.domain.anchors.filter(isKept) };
  return { ...made, domain: { ...left, anchorsId: identifyAnchors(left) } };
}

/** Reads the CA certificates of a bundle: those from which lists are checked while they are read. */
export function readAuthorities(trust: string): Result.Result<readonly Certificate[], TrustError> {
  return Result.map(readBundle({ name: undefined, trust }), (certificates) => certificates.filter(isCa));
}

interface Made extends DomainCrls {
  readonly domain: TrustDomain;
  /** Every CA of its bundle, revoked ones too, with the lists that it signed. */
  readonly issuers: Issuers;
  readonly leaves: readonly Certificate[];
  readonly revoked: readonly Certificate[];
}

const isCa = ({ basicConstraints }: Certificate) => basicConstraints?.ca === true;

function makeDomain(
  input: Omit<DomainInput, "name" | "policy"> & Pick<TrustDomain, "name" | "claims" | "foreign" | "policy">,
  before: SeenBefore,
): Result.Result<Made, TrustError> {
  return Result.gen(function* () {
    const { name, claims, foreign, policy, roles } = input;
    const { trust } = input;
    const certificates = trust === undefined ? [] : yield* readBundle({ name, trust });
    const cas = certificates.filter(isCa);
    if (cas.length === 0 && trust !== undefined) {
      return yield* refuse(name, "trust_pem", "no-ca", undefined, "no certificate in it is a CA's", caHint);
    }
    const given = input.crlsPem === undefined ? [] : yield* readCrls(input.crlsPem, cas, policy, name);
    const requirement = input.crlsPem === undefined ? input.crls ?? "optional" : "required";
    const joined = yield* joinCrls(given, { ...input, before, cas, requirement });
    const { arranged, lists, marks } = joined;
    const issuers = issuersOf(cas, arranged);
    const revoked = revokedAmong(cas, issuers, "refused");
    const trusted = cas.filter((ca) => !revoked.includes(ca));
    const uncleared = requirement === "optional" ? [] : unclearAmong(trusted, issuers, { arranged, marks, name });
    const anchors = trusted.filter((ca) => !uncleared.includes(ca));
    const revocation = indexOf(joined, requirement);
    const leaves = certificates.filter((certificate) => !cas.includes(certificate));
    const limits = roles === undefined ? {} : { roles };
    const unclear = uncleared.map(({ subject: { text } }): TrustWarning => ({
      code: "anchor-unclear",
      level: "warn",
      subject: text,
      message:
        `${text} is no anchor: the list of its issuer is missing, or older than one seen before: put the newest one into crls_pem`,
    }));
    const warnings = [...joined.warnings, ...unclear];
    const identified = { name, claims, ...(foreign === undefined ? {} : { foreign }), anchors, policy, ...limits };
    const fetched = input.fetched === undefined ? {} : { fetched: input.fetched };
    const domain = { ...identified, ...fetched, anchorsId: identifyAnchors(identified), revocation };
    return { domain, issuers, lists, arranged, marks, warnings, leaves, revoked };
  });
}

/** Undefined where nothing is required and no list was ever used. */
function indexOf({ arranged, marks }: DomainCrls, requirement: CrlRequirement): RevocationIndex | undefined {
  if (requirement === "required") return { lists: arranged, marks };
  return arranged.length === 0 && Object.keys(marks).length === 0 ? undefined : { lists: arranged, marks, requirement };
}

const caHint = "Put the CA certificates (root, intermediates) into it: cat intermediate.pem root.pem > ca-bundle.pem";

function readBundle(
  { name, trust }: { readonly name: string | undefined; readonly trust: string },
): Result.Result<readonly Certificate[], TrustError> {
  if (!trust.trimStart().startsWith("{")) return readPemBundle(name, trust);
  return Result.match(parseSpiffeBundle(trust), {
    onSuccess: ({ authorities }) => Result.succeed(authorities),
    onFailure: ({ message }) => refuse(name, "trust_pem", "bundle", undefined, message, "Export the bundle again."),
  });
}

function readPemBundle(name: string | undefined, text: string): Result.Result<readonly Certificate[], TrustError> {
  return Result.gen(function* () {
    const stop = (problem: TrustProblem["problem"], line: number | undefined, detail: string, hint = caHint) =>
      refuse(name, "trust_pem", problem, line, detail, hint);
    const parsed = parsePem(text);
    if (Result.isFailure(parsed)) return yield* stop("pem", parsed.failure.line, parsed.failure.detail);
    const blocks = parsed.success;
    if (blocks.length === 0) return yield* stop("empty", undefined, "no block CERTIFICATE in it");
    const wrong = blocks.find(({ label }) => label !== "CERTIFICATE");
    if (wrong !== undefined) {
      return yield* stop("wrong-label", wrong.line, `a block ${wrong.label}, where CERTIFICATE is expected`);
    }
    if (blocks.length > anchorsMax) {
      return yield* stop("too-many", blocks[anchorsMax]!.line, `more than ${anchorsMax} blocks`);
    }
    const certificates = new Map<string, Certificate>();
    for (const [index, { der, line }] of blocks.entries()) {
      const certificate = parseCertificate(der, index);
      if (Result.isFailure(certificate)) {
        const { detail, hint } = certificate.failure;
        return yield* stop("certificate", line, `malformed certificate: ${detail}`, hint);
      }
      certificates.set(certificate.success.fingerprint, certificate.success);
    }
    return [...certificates.values()];
  });
}

function readCrls(
  source: CrlSource,
  cas: readonly Certificate[],
  { profile }: Policy,
  name: string | undefined,
): Result.Result<readonly LocatedCrl[], TrustError> {
  if (typeof source !== "string" && !(source instanceof Uint8Array)) return Result.succeed(source);
  const bytes = typeof source === "string" ? Buffer.from(source) : source;
  const reader = new CrlReader({ cas, profile, sizeBytes: bytes.length });
  reader.push(bytes);
  return Result.mapError(
    reader.finish(),
    (error) => name === undefined ? error : new TrustError({ ...problemOf(error), domain: name }),
  );
}

function problemOf({ input, problem, line, detail, hint, refusal }: TrustError): TrustProblem {
  return { input, problem, line, detail, hint, ...(refusal === undefined ? {} : { refusal }) };
}

function refuse(
  domain: string | undefined,
  input: TrustProblem["input"],
  problem: TrustProblem["problem"],
  line: number | undefined,
  detail: string,
  hint: string,
): Result.Result<never, TrustError> {
  return refuseTrust({ input, problem, line, detail, hint, ...(domain === undefined ? {} : { domain }) });
}
