/**
 * Whether a bundle is the one of a partner's trust domain. Pure.
 *
 * @module
 */
import { Result } from "effect";
import type { Certificate } from "../../pki/certificate.ts";
import { foreignCas } from "../../pki/foreign_cas.ts";
import { parseSpiffeBundle, type SpiffeBundle } from "../../pki/spiffe_bundle.ts";
import { domainOf, domainsOf, type TrustSnapshot } from "../../pki/trust.ts";
import type { BundleProfile } from "../config/config.ts";
import { anyRoot, pinnedRoot, snapshotOf } from "../enrolment/ca_trust.ts";
import { judgeCa } from "../enrolment/judge_ca.ts";
import { type BundleCode, BundleRefused } from "./bundle_refused.ts";

/** An answer of the server of a bundle. */
export interface ServedBundle {
  /** The server's chain, DER, leaf first: TLS has proved that it has the leaf's key. */
  readonly chain: readonly Uint8Array[];
  readonly text: string;
}

/** Whose bundle it has to be. */
export interface BundleTerms {
  /** The partner's trust domain. */
  readonly domain: string;
  readonly url: string;
  /** SHA-256 of the SPKI of the partner's root, lower-case hexadecimal; any root counts where undefined. */
  readonly pin: string | undefined;
  /** Who vouched for the server: nothing has looked at it yet (`https_ca`), or the runtime has (`https_web`). */
  readonly profile: BundleProfile;
  /** What the node trusts now. */
  readonly snapshot: TrustSnapshot;
  readonly at: Date;
  /** The file of the bundle that was taken last. */
  readonly path: string;
  /** That bundle; undefined where there is none. */
  readonly kept: SpiffeBundle | undefined;
}

/** A bundle that may be kept; `same`: nothing in it is new. */
export interface CheckedBundle {
  readonly bundle: SpiffeBundle;
  readonly news: "new" | "same";
}

/**
 * Checks a bundle: it has the pinned root; under that root the server is a CA of this very domain; no CA in it is of another domain;
 * its sequence does not go back. Where a server of the web needs no pin, a CA of the last bundle is in it.
 *
 * Does not verify the CAs in it against each other: each of them is an anchor, for names of this domain only.
 */
export function checkBundle(
  { chain, text }: ServedBundle,
  terms: BundleTerms,
): Result.Result<CheckedBundle, BundleRefused> {
  const refuse = (code: BundleCode, detail: string) =>
    Result.fail(new BundleRefused({ code, domain: terms.domain, detail }));
  const refuseByLast = (code: BundleCode, detail: string) =>
    Result.fail(new BundleRefused({ code, domain: terms.domain, detail, last: terms.path }));
  return Result.gen(function* () {
    const { domain, profile, pin, kept } = terms;
    const parsed = parseSpiffeBundle(text);
    if (Result.isFailure(parsed)) return yield* refuse("bundle-malformed", parsed.failure.detail);
    const bundle = parsed.success;
    const root = rootOf(bundle, terms);
    if (root === undefined) {
      const key = pin === undefined ? "" : " with the key of bundle_pin";
      return yield* refuse("bundle-unpinned", `it has no root that is valid now${key}`);
    }
    const server = profile === "https_web" ? Result.succeed(undefined) : judgeServer(chain, root, terms);
    if (Result.isFailure(server)) return yield* refuse("bundle-server", server.failure.detail);
    if (pin === undefined && kept !== undefined && !hasCommon(kept, bundle)) {
      return yield* refuseByLast("bundle-replaced", "it has no CA of the last one");
    }
    const foreign = foreignClaim(bundle, terms);
    if (foreign !== undefined) return yield* refuse("bundle-foreign", foreign);
    if (kept === undefined) return { bundle, news: "new" };
    const order = compareSequence(kept, bundle);
    if (order === "older") {
      const [before, now] = [kept, bundle].map(({ sequence }) => sequence ?? "none");
      return yield* refuseByLast("bundle-rollback", `its sequence is ${now}, after ${before} of ${domain}`);
    }
    if (isSame(kept, bundle)) return { bundle, news: "same" };
    if (order === "same") {
      return yield* refuseByLast("bundle-equivocation", `another bundle had sequence ${kept.sequence}`);
    }
    return { bundle, news: "new" };
  });
}

/** The root with the pinned key, or any, that is valid now. */
function rootOf({ authorities }: SpiffeBundle, { pin, url, at }: BundleTerms): Certificate | undefined {
  return pin === undefined
    ? anyRoot(authorities, at)
    : Result.getOrUndefined(pinnedRoot(authorities, { anchor: pin, url, at }));
}

function hasCommon(before: SpiffeBundle, now: SpiffeBundle): boolean {
  const known = new Set(before.authorities.map(({ fingerprint }) => fingerprint));
  return now.authorities.some(({ fingerprint }) => known.has(fingerprint));
}

/** Whether the server is a CA of the domain, under its root. What the domain's lists revoke counts; lists that are out do not hinder. */
function judgeServer(chain: readonly Uint8Array[], root: Certificate, { domain, url, at, snapshot }: BundleTerms) {
  const { policy, revocation } = domainOf(snapshot, domain);
  const known = revocation === undefined ? undefined : { ...revocation, requirement: "optional" as const };
  return Result.flatMap(
    snapshotOf([root], { policy, at }),
    (pinned) => judgeCa(chain, { ...pinned, revocation: known }, { url, domain, at }),
  );
}

/** What the CAs of the bundle claim of another domain. */
function foreignClaim({ authorities }: SpiffeBundle, { domain, pin, snapshot }: BundleTerms): string | undefined {
  const holderOf = foreignCas(domainsOf(snapshot));
  for (const authority of authorities) {
    const { subject: { text }, subjectAltNames } = authority;
    const other = subjectAltNames.find(({ type, value }) =>
      type === "uri" && value !== `spiffe://${domain}` && !value.startsWith(`spiffe://${domain}/`)
    );
    if (other !== undefined) return `${text} in it names ${other.value}`;
    const holder = holderOf(authority, { name: domain, pin });
    if (holder !== undefined) return `${text} in it is a CA of ${holder.name ?? "this node's own domain"}`;
  }
  return undefined;
}

/** How the sequences follow each other. A bundle without one does not follow a bundle that has one. */
function compareSequence({ sequence: before }: SpiffeBundle, { sequence: now }: SpiffeBundle) {
  if (before === undefined) return "newer";
  if (now === undefined || now < before) return "older";
  return now === before ? "same" : "newer";
}

function isSame(before: SpiffeBundle, now: SpiffeBundle): boolean {
  const prints = ({ authorities }: SpiffeBundle) => authorities.map(({ fingerprint }) => fingerprint).toSorted().join();
  return prints(before) === prints(now) && before.sequence === now.sequence;
}
