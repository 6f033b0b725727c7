/**
 * A cache of verified chains: a returning peer costs a hash instead of signature checks.
 *
 * It holds the parsed chain and its paths. Dates and revocation are never cached:
 * `checkValidity` and `checkRevocation` run each time.
 *
 * @module
 */
import { createHash } from "node:crypto";
import * as Result from "effect/Result";
import type { Certificate } from "./certificate.ts";
import { type CheckFunctions, pkiChecks } from "./checks/check_table.ts";
import { findPaths, type Path, type PathLimits, type PathsFound, withoutSearch } from "./checks/find_paths.ts";
import { checkValidity, type WithinValidity } from "./checks/validity.ts";
import { type ChainLimits, checkWellFormed, refuseSize, type WellFormed } from "./checks/well_formed.ts";
import type { Refusal } from "./refusal.ts";
import { domainsOf, type TrustSnapshot } from "./trust.ts";

/** Chains cached by default, of 5 to 10 kB each: the peers of a large gateway. */
export const chainsMax = 1_024;

/** Octets of a chain that is cached; an honest one has one to six thousand. Larger chains are verified each time. */
export const chainBytesMax = 16 * 1024;

/** Links between CAs of one trust domain that are cached: those of a few intermediates, and of as many that are being replaced. */
export const linksMax = 256;

interface CachedChain {
  readonly wellFormed: WellFormed;
  readonly anchorsId: string;
  readonly found: PathsFound;
}

/** Chains, the least recently used first. */
type Chains = Map<string, CachedChain>;

/**
 * The cache is bounded in chains and in the size of each; the key is the hash of a chain's certificates. Only chains with a
 * path to an anchor are cached, so that strangers cannot evict honest peers, and only those whose every certificate is on a
 * path, so that a member cannot with certificates that no CA of the network issued. The least recently used chain is evicted first, of
 * the trust domain that has the most: a partner with many peers pushes out no other domain's below its share.
 *
 * Entries made under other anchors or another policy (`TrustSnapshot.anchorsId`) are not used: of these chains, only the domains
 * that changed are searched again. New revocation lists alone cause no signature check. An expired chain is removed.
 *
 * Peers share their CAs: a signature between two CAs of a verified path is checked once under one set of anchors of a domain.
 */
export class VerificationCache {
  readonly #max: number;
  /** By the domain that vouches; undefined: the node's own bundle. */
  readonly #domains = new Map<string | undefined, Chains>();
  /** The domain of each chain. */
  readonly #domainOf = new Map<string, string | undefined>();
  /** Keys of chains that were parsed here, as long as they are referenced. */
  readonly #names = new WeakMap<WellFormed, string>();
  readonly #namesOfPaths = new WeakMap<PathsFound, string>();
  /** What was found last for a chain that a connection still refers to, cached or not. */
  readonly #lastFound = new WeakMap<WellFormed, PathsFound>();
  /** Of each domain, under one set of anchors: child and issuer, both CAs. */
  readonly #links = new Map<string | undefined, { readonly of: string; readonly known: Set<string> }>();

  /** An empty cache for up to `max` chains. */
  constructor(max: number = chainsMax) {
    this.#max = max;
  }

  /** The number of cached chains. */
  get size(): number {
    return this.#domainOf.size;
  }

  /** As the function of that name; a cached chain is not parsed again. */
  checkWellFormed(chain: readonly Uint8Array[], limits: ChainLimits = {}): ReturnType<typeof checkWellFormed> {
    // A chain that is too large is not hashed either.
    if (refuseSize(chain, limits) !== undefined) return checkWellFormed(chain, limits);
    const name = nameOf(chain);
    const known = this.#cached(name);
    if (known !== undefined) return Result.succeed(known.wellFormed);
    return Result.map(checkWellFormed(chain, limits), (wellFormed) => {
      const octets = chain.reduce((sum, der) => sum + der.length, 0);
      if (octets <= chainBytesMax) this.#names.set(wellFormed, name);
      return wellFormed;
    });
  }

  /** As the function of that name; the paths of a cached chain are not searched again, but in domains that changed. */
  findPaths(
    wellFormed: WellFormed,
    snapshot: TrustSnapshot,
    limits: PathLimits = {},
  ): Result.Result<PathsFound, Refusal> {
    const name = this.#names.get(wellFormed);
    // Paths found under a limit of one caller are not cached for others.
    if (name === undefined || limits.intermediatesMax !== undefined) return findPaths(wellFormed, snapshot, limits);
    const known = this.#cached(name);
    const { anchorsId } = snapshot;
    if (known !== undefined && known.anchorsId === anchorsId) {
      this.#put(name, known); // moves to the end: the most recently used
      return Result.succeed(known.found);
    }
    const before = known?.found ?? this.#lastFound.get(wellFormed);
    const isKnownLink = this.#knownLinks(snapshot);
    const outcome = findPaths(wellFormed, snapshot, { ...limits, isKnownLink, before });
    this.#remove(name);
    if (Result.isFailure(outcome)) return outcome;
    const found = withoutSearch(outcome.success);
    for (const [index, path] of found.paths.entries()) this.#cacheLinks(found.domains?.[index], path);
    this.#lastFound.set(wellFormed, found);
    if (!isAllOnPaths(wellFormed, found)) return outcome;
    this.#put(name, { wellFormed, anchorsId, found });
    this.#namesOfPaths.set(found, name);
    this.#namesOfPaths.set(outcome.success, name);
    return outcome;
  }

  /** As the function of that name; an expired chain is removed. */
  checkValidity(found: PathsFound, at: Date): ReturnType<typeof checkValidity> {
    const outcome: Result.Result<WithinValidity, Refusal> = checkValidity(found, at);
    const name = this.#namesOfPaths.get(found);
    if (Result.isFailure(outcome) && name !== undefined) this.#remove(name);
    return outcome as ReturnType<typeof checkValidity>;
  }

  #cached(name: string): CachedChain | undefined {
    return this.#domains.get(this.#domainOf.get(name))?.get(name);
  }

  #remove(name: string): void {
    const domain = this.#domainOf.get(name);
    const chains = this.#domains.get(domain);
    if (chains?.delete(name) !== true) return;
    this.#domainOf.delete(name);
    if (chains.size === 0) this.#domains.delete(domain);
  }

  /** Puts a chain at the end of its domain's. */
  #put(name: string, chain: CachedChain): void {
    this.#remove(name);
    const domain = chain.found.domains?.[0];
    const chains: Chains = this.#domains.get(domain) ?? new Map();
    this.#domains.set(domain, chains);
    chains.set(name, chain);
    this.#domainOf.set(name, domain);
    if (this.size <= this.#max) return;
    const [largest] = [...this.#domains.values()].sort((a, b) => b.size - a.size);
    const [oldest] = largest?.keys() ?? [];
    if (oldest !== undefined) this.#remove(oldest);
  }

  /** Links that are known under the present anchors of some domain. Whether a signature verifies depends on no domain. */
  #knownLinks(snapshot: TrustSnapshot): NonNullable<PathLimits["isKnownLink"]> {
    const current = new Map(domainsOf(snapshot).map(({ name, anchorsId }) => [name, anchorsId]));
    for (const [name, { of }] of this.#links) if (current.get(name) !== of) this.#links.delete(name);
    for (const [name, of] of current) if (!this.#links.has(name)) this.#links.set(name, { of, known: new Set() });
    const links = [...this.#links.values()].filter(({ known }) => known.size > 0);
    return (child, issuer) => links.some(({ known }) => known.has(linkOf(child, issuer)));
  }

  /** The leaf's link is cached with its chain. */
  #cacheLinks(domain: string | undefined, path: Path): void {
    const links = this.#links.get(domain)?.known;
    if (links === undefined) return;
    for (let at = 1; at + 1 < path.length && links.size < linksMax; at++) links.add(linkOf(path[at]!, path[at + 1]!));
  }
}

/** The checks, with a cache of verified chains. Dates, CRLs and roles are checked each time. */
export function cachedChecks(cache: VerificationCache): CheckFunctions {
  return {
    ...pkiChecks,
    wellFormed: (chain, limits) => cache.checkWellFormed(chain, limits),
    path: (wellFormed, snapshot, limits) => cache.findPaths(wellFormed, snapshot, limits),
    validity: (found, at) => cache.checkValidity(found, at),
  };
}

/** Whether all that the peer sent is on the paths, each certificate once. */
function isAllOnPaths({ leaf, others }: WellFormed, { paths }: PathsFound): boolean {
  const left = new Set(paths.flatMap((path) => path.map(({ fingerprint }) => fingerprint)));
  return [leaf, ...others].every(({ fingerprint }) => left.delete(fingerprint));
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
