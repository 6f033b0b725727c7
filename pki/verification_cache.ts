/**
 * A cache of verified chains: a returning peer costs a hash instead of signature checks.
 *
 * It holds the parsed chain, its paths and the identity of its leaf. Dates and revocation are never cached:
 * `checkValidity` and `checkRevocation` run each time.
 *
 * @module
 */
import { createHash } from "node:crypto";
import * as Result from "effect/Result";
import type { Certificate } from "./certificate.ts";
import { type CheckFunctions, pkiChecks } from "./checks/check_table.ts";
import { findPaths, type Path, type PathLimits, type PathsFound, withoutSearch } from "./checks/find_paths.ts";
import { checkIdentity, type PeerIdentity } from "./checks/identity.ts";
import { checkValidity, type WithinValidity } from "./checks/validity.ts";
import { type ChainLimits, checkWellFormed, type WellFormed } from "./checks/well_formed.ts";
import type { Refusal } from "./refusal.ts";
import type { TrustSnapshot } from "./trust.ts";

/** Chains cached by default, of 5 to 10 kB each: the peers of a large gateway. */
export const chainsMax = 1_024;

/** Octets of a chain that is cached; an honest one has one to six thousand. Larger chains are verified each time. */
export const chainBytesMax = 16 * 1024;

/** Links between CAs that are cached: those of a few intermediates, and of as many that are being replaced. */
export const linksMax = 256;

interface CachedChain {
  readonly wellFormed: WellFormed;
  readonly anchorsId: string;
  readonly found: PathsFound;
  identity: PeerIdentity | undefined;
}

/**
 * The cache is bounded in chains and in the size of each; the key is the hash of a chain's certificates. Only chains with a
 * path to an anchor are cached, so that strangers cannot evict honest peers; the least recently used chain is evicted first.
 * Entries made under other anchors or another policy (`TrustSnapshot.anchorsId`) are not used; new revocation lists alone
 * cause no signature check. An expired chain is removed.
 *
 * Peers share their CAs: a signature between two CAs of a verified path is checked once under one set of anchors.
 */
export class VerificationCache {
  readonly #max: number;
  readonly #chains = new Map<string, CachedChain>();
  /** Keys of chains that were parsed here, as long as they are referenced. */
  readonly #names = new WeakMap<WellFormed, string>();
  readonly #namesOfPaths = new WeakMap<PathsFound, string>();
  /** Under one set of anchors: child and issuer, both CAs. */
  #links: { readonly of: string | undefined; readonly known: Set<string> } = { of: undefined, known: new Set() };

  /** An empty cache for up to `max` chains. */
  constructor(max: number = chainsMax) {
    this.#max = max;
  }

  /** The number of cached chains. */
  get size(): number {
    return this.#chains.size;
  }

  /** As the function of that name; a cached chain is not parsed again. */
  checkWellFormed(chain: readonly Uint8Array[], limits: ChainLimits = {}): ReturnType<typeof checkWellFormed> {
    const name = nameOf(chain);
    const known = this.#chains.get(name);
    if (known !== undefined && chain.length <= (limits.certificatesMax ?? chain.length)) {
      return Result.succeed(known.wellFormed);
    }
    return Result.map(checkWellFormed(chain, limits), (wellFormed) => {
      const octets = chain.reduce((sum, der) => sum + der.length, 0);
      if (octets <= chainBytesMax) this.#names.set(wellFormed, name);
      return wellFormed;
    });
  }

  /** As the function of that name; the paths of a cached chain are not searched again. */
  findPaths(
    wellFormed: WellFormed,
    snapshot: TrustSnapshot,
    limits: PathLimits = {},
  ): Result.Result<PathsFound, Refusal> {
    const name = this.#names.get(wellFormed);
    // Paths found under a limit of one caller are not cached for others.
    if (name === undefined || limits.intermediatesMax !== undefined) return findPaths(wellFormed, snapshot, limits);
    const known = this.#chains.get(name);
    const { anchorsId } = snapshot;
    if (known !== undefined && known.anchorsId === anchorsId) {
      this.#chains.delete(name); // moves to the end: the most recently used
      this.#chains.set(name, known);
      return Result.succeed(known.found);
    }
    const links = this.#linksUnder(snapshot);
    const isKnownLink = (child: Certificate, issuer: Certificate) => links.has(linkOf(child, issuer));
    const outcome = findPaths(wellFormed, snapshot, { ...limits, isKnownLink });
    this.#chains.delete(name);
    if (Result.isFailure(outcome)) return outcome;
    for (const path of outcome.success.paths) cacheLinks(links, path);
    const found = withoutSearch(outcome.success);
    if (this.#chains.size >= this.#max) this.#chains.delete(this.#chains.keys().next().value!);
    this.#chains.set(name, { wellFormed, anchorsId, found, identity: known?.identity });
    this.#namesOfPaths.set(found, name);
    this.#namesOfPaths.set(outcome.success, name);
    return outcome;
  }

  #linksUnder({ anchorsId }: TrustSnapshot): Set<string> {
    if (this.#links.of !== anchorsId) this.#links = { of: anchorsId, known: new Set() };
    return this.#links.known;
  }

  /** As the function of that name; an expired chain is removed. */
  checkValidity(found: PathsFound, at: Date): ReturnType<typeof checkValidity> {
    const outcome: Result.Result<WithinValidity, Refusal> = checkValidity(found, at);
    const name = this.#namesOfPaths.get(found);
    if (Result.isFailure(outcome) && name !== undefined) this.#chains.delete(name);
    return outcome as ReturnType<typeof checkValidity>;
  }

  /** As the function of that name; the leaf of a cached chain is not read again. */
  checkIdentity(wellFormed: WellFormed, expectedPeer?: string): ReturnType<typeof checkIdentity> {
    const known = this.#chains.get(this.#names.get(wellFormed) ?? "");
    const { identity } = known ?? {};
    if (identity !== undefined && (expectedPeer === undefined || expectedPeer === identity.peer)) {
      return Result.succeed(identity);
    }
    const outcome = checkIdentity(wellFormed, expectedPeer);
    if (known !== undefined && Result.isSuccess(outcome)) known.identity = outcome.success;
    return outcome;
  }
}

/** The checks, with a cache of verified chains. Dates, CRLs and roles are checked each time. */
export function cachedChecks(cache: VerificationCache): CheckFunctions {
  return {
    ...pkiChecks,
    wellFormed: (chain, limits) => cache.checkWellFormed(chain, limits),
    path: (wellFormed, snapshot, limits) => cache.findPaths(wellFormed, snapshot, limits),
    validity: (found, at) => cache.checkValidity(found, at),
    identity: (wellFormed, expectedPeer) => cache.checkIdentity(wellFormed, expectedPeer),
  };
}

/** Caches the links between the CAs of a path. The leaf's link is cached with its chain. */
function cacheLinks(links: Set<string>, path: Path): void {
  for (let at = 1; at + 1 < path.length && links.size < linksMax; at++) links.add(linkOf(path[at]!, path[at + 1]!));
}

/** Fingerprints are hashes of the whole certificates, key and signature with them. */
function linkOf(child: Certificate, issuer: Certificate): string {
  return `${child.fingerprint} ${issuer.fingerprint}`;
}

/** SHA-256 over the certificates, each with its length in front, so that no two chains have the same input. */
function nameOf(chain: readonly Uint8Array[]): string {
  const bytes = new Uint8Array(chain.reduce((size, der) => size + 4 + der.length, 0));
  let at = 0;
  for (const der of chain) {
    for (let octet = 0; octet < 4; octet++) bytes[at++] = der.length >>> (24 - octet * 8);
    bytes.set(der, at);
    at += der.length;
  }
  // One call for all: on Deno each costs more than the hashing.
  return createHash("sha256").update(bytes).digest("base64");
}
