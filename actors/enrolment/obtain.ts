/**
 * Getting a certificate from a CA: the first one for a token, the next one for the one in force. Nothing is written here but the
 * key that is asked for.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { Certificate, Role } from "../../pki/certificate.ts";
import type { Policy, TrustSnapshot } from "../../pki/trust.ts";
import type { Services } from "../runtime/ports.ts";
import type { AskHttps } from "./ask_https.ts";
import { bundleText, certificatesOf, chainOf, pinnedRoot, refreshTrust, snapshotOf } from "./ca_trust.ts";
import { EnrolmentRefused, enrolmentRefused } from "./enrolment_refused.ts";
import type { EnrolmentStore, HeldFiles, NewFiles } from "./enrolment_store.ts";
import { askCaCertificates, askCertificate, askNetwork, type CaServer, type NetworkDocument } from "./est_client.ts";
import { chainText, checkIssued, type HeldPair, spiffeOf } from "./held_pair.ts";
import { judgeCa } from "./judge_ca.ts";
import { type KeyRequest, ownKeys, type RequestKeys } from "./make_csr.ts";

/** The token of a node that joins; `actors/ca/token.ts` reads one. */
export interface GivenToken {
  /** Names it among others; no secret. */
  readonly id: string;
  /** The whole token. */
  readonly text: string;
  /** SHA-256 of the root's SPKI, hexadecimal. */
  readonly anchor: string;
  readonly url: string;
}

/** What both ways need. */
export interface ObtainTerms {
  readonly ask: AskHttps;
  readonly store: EnrolmentStore;
  /** Where keys come from; made here where undefined. */
  readonly keys?: RequestKeys | undefined;
  readonly role: Role;
  readonly policy: Policy;
  readonly at: Date;
}

/** What came of asking. */
export type Obtained =
  | {
    readonly type: "issued";
    readonly files: NewFiles;
    readonly url: string;
    /** The certificate of the identity in hardware was due, and not renewed. */
    readonly ending?: { readonly notAfter: Date; readonly refusal: EnrolmentRefused };
  }
  /** An approval is awaited. */
  | { readonly type: "pending"; readonly pendingMs: number }
  /** A certificate came that cannot be used yet; the trust that came with it can. */
  | { readonly type: "trust"; readonly files: NewFiles; readonly refusal: EnrolmentRefused };

export type Asked<A> = Effect.Effect<A, EnrolmentRefused, Services>;

/** Gets the first certificate. */
export function enrol(token: GivenToken, files: HeldFiles, terms: ObtainTerms): Asked<Obtained> {
  const { store, keys = ownKeys, role, at } = terms;
  return Effect.gen(function* () {
    const purpose = purposeOfToken(token);
    const kept = files.next?.purpose === purpose ? files.next.keyPem : undefined;
    const keyPem = kept ?? (yield* keys.make);
    if (kept === undefined) yield* store.writeNext({ purpose, keyPem });
    const { body, spki } = yield* keys.request(keyPem);
    const came = yield* askWithToken(token, body, terms);
    if ("pendingMs" in came) return { type: "pending", pendingMs: came.pendingMs };
    const { chain, domain, snapshot, trustPem } = came;
    const refusal = checkIssued(chain, { spki, keyPem, domain, role, snapshot, at });
    if (refusal !== undefined) return yield* refusal;
    return { type: "issued", url: token.url, files: { trustPem, certPem: chainText(chain), keyPem } };
  });
}

/** A certificate that came for a token, and what it is judged with. */
export interface CameForToken {
  /** The leaf, then its issuers. */
  readonly chain: readonly Certificate[];
  /** The trust domain of the CA that answered. */
  readonly domain: string;
  readonly snapshot: TrustSnapshot;
  readonly trustPem: string;
}

/**
 * Asks for the certificate of a token. Before the token is sent, the server has shown a chain of role `ca` under the token's root.
 *
 * @param body The signing request, base64.
 */
export function askWithToken(
  token: GivenToken,
  body: string,
  { ask, policy, at }: Pick<ObtainTerms, "ask" | "policy" | "at">,
): Asked<CameForToken | { readonly pendingMs: number }> {
  const { url } = token;
  return Effect.gen(function* () {
    const offered = yield* askCaCertificates({ url, ask, judge: () => undefined });
    const root = yield* Effect.fromResult(pinnedRoot(offered, { ...token, at }));
    const bundle = refreshTrust([root], offered, { at });
    const snapshot = yield* Effect.fromResult(snapshotOf(bundle, { policy, at }));
    let domain: string | undefined;
    const judge = (chain: readonly Uint8Array[]) => {
      const judged = judgeCa(chain, snapshot, { url, domain, at });
      if (Result.isFailure(judged)) return judged.failure;
      domain = judged.success;
      return undefined;
    };
    const answer = yield* askCertificate({ url, ask, judge }, { token: token.text }, body);
    if ("pendingMs" in answer) return answer;
    return { chain: chainOf(answer, offered), domain: domain ?? "", snapshot, trustPem: bundleText(bundle) };
  });
}

/** What a renewal needs in addition. */
export interface RenewTerms extends ObtainTerms {
  /** Where the CAs are, tried in this order. */
  readonly urls: readonly string[];
  /** Whether another key is asked for, where none was asked for yet. */
  readonly key: "same" | "new";
  /** The lists that the node has. */
  readonly revocation: TrustSnapshot["revocation"];
}

/** Gets the next certificate, and the trust of that day. */
export function renew(pair: HeldPair, files: HeldFiles, terms: RenewTerms): Asked<Obtained> {
  return Effect.gen(function* () {
    const { keyPem } = yield* keyFor(pair, files, terms);
    const { keys = ownKeys } = terms;
    const request = { ...(yield* keys.request(keyPem)), keyPem };
    return yield* withCa(
      pair.leaf,
      files,
      terms,
      (ca, trusted) => renewAt(ca, pair, request, { ...terms, ...trusted }),
    );
  });
}

/** Asks what the CA says about its network, as a member. */
export function lookAtNetwork(pair: HeldPair, files: HeldFiles, terms: RenewTerms): Asked<NetworkDocument> {
  return withCa(pair.leaf, files, terms, (ca) => askNetwork(ca, { pair }));
}

/** What the node trusts before a renewal. */
export interface Trusted {
  readonly domain: string;
  readonly present: readonly Certificate[];
}

/** Tries the CAs of the domain that an own certificate names, in their order. One that cannot be reached, or is none, hands over to the next; a refusal is final. */
export function withCa<A>(
  own: Certificate,
  { trustPem }: HeldFiles,
  { urls, ask, policy, revocation, at }: RenewTerms,
  use: (ca: CaServer, trusted: Trusted) => Asked<A>,
): Asked<A> {
  return Effect.gen(function* () {
    const domain = spiffeOf(own)?.domain;
    if (domain === undefined) {
      const detail = "the certificate in force names no trust domain, and no CA of ours renews it";
      return yield* enrolmentRefused("not-issued-here", detail);
    }
    const present = certificatesOf(trustPem ?? "");
    const snapshot = { ...(yield* Effect.fromResult(snapshotOf(present, { policy, at }))), revocation };
    let last = enrolmentRefused("ca-unreachable", "no CA is configured");
    for (const url of urls) {
      const judge = (chain: readonly Uint8Array[]) => {
        const judged = judgeCa(chain, snapshot, { url, domain, at });
        return Result.isFailure(judged) ? judged.failure : undefined;
      };
      const outcome = yield* Effect.result(use({ url, ask, judge }, { domain, present }));
      if (Result.isSuccess(outcome)) return outcome.success;
      last = outcome.failure;
      if (last.again === "never") break;
    }
    return yield* last;
  });
}

/** The key that is asked for, kept before the CA hears of it: a second key for one certificate counts as a fork. */
function keyFor(
  pair: HeldPair,
  { next }: HeldFiles,
  { store, keys = ownKeys, key }: RenewTerms,
): Asked<{ readonly keyPem: string }> {
  return Effect.gen(function* () {
    const purpose = purposeOf(pair);
    if (next?.purpose === purpose) return next;
    const keyPem = key === "new" ? yield* keys.make : pair.keyPem;
    const kept = store.writeNext({ purpose, keyPem });
    yield* key === "new" ? kept : Effect.ignore(kept);
    return { keyPem };
  });
}

/** Names the token that a request is for. */
export const purposeOfToken = ({ id }: Pick<GivenToken, "id">): string => `token ${id}`;

/** Names the certificate that a request renews. */
export const purposeOf = ({ leaf }: Pick<HeldPair, "leaf">): string => `renewal ${leaf.fingerprint}`;

function renewAt(
  ca: CaServer,
  pair: HeldPair,
  { body, spki, keyPem }: KeyRequest & { readonly keyPem: string },
  { domain, present, role, policy, revocation, at }: RenewTerms & Trusted,
): Asked<Obtained> {
  return Effect.gen(function* () {
    const answer = yield* askCertificate(ca, { pair }, body);
    if ("pendingMs" in answer) return { type: "pending", pendingMs: answer.pendingMs };
    return yield* takeIssued(ca, answer, { spki, keyPem, pair }, { domain, present, role, policy, revocation, at });
  });
}

/** What a certificate was asked for. */
export interface AskedFor {
  readonly spki: Uint8Array;
  readonly keyPem: string;
  /** The pair that it takes the place of; undefined for a first one. */
  readonly pair: HeldPair | undefined;
}

/** What is installed of a certificate that came, with the trust of that day. */
export function takeIssued(
  ca: CaServer,
  answer: Certificate,
  { spki, keyPem, pair }: AskedFor,
  { domain, present, role, policy, revocation, at }:
    & Pick<RenewTerms, "role" | "policy" | "revocation" | "at">
    & Trusted,
): Asked<Obtained> {
  return Effect.gen(function* () {
    const offered = yield* askCaCertificates(ca);
    const bundle = refreshTrust(present, offered, { at, snapshot: { revocation } });
    const isChanged = bundle.length !== present.length || bundle.some((each) => !present.includes(each));
    const trust = isChanged ? { trustPem: bundleText(bundle) } : {};
    const snapshot = { ...(yield* Effect.fromResult(snapshotOf(bundle, { policy, at }))), revocation };
    const chain = chainOf(answer, [...offered, ...present]);
    const refusal = checkIssued(chain, { spki, keyPem, domain, role, former: pair?.leaf, snapshot, at });
    if (refusal !== undefined) {
      if (!isChanged || refusal.again === "never") return yield* refusal;
      return { type: "trust", files: trust, refusal };
    }
    const key = keyPem === pair?.keyPem ? {} : { keyPem };
    return { type: "issued", url: ca.url, files: { ...trust, certPem: chainText(chain), ...key } };
  });
}
