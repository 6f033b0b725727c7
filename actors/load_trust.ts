/**
 * Reading of the trust bundle and the revocation lists into a snapshot.
 *
 * @module
 */
import { Effect } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { CrlFloor } from "../pki/crl.ts";
import type { Role } from "../pki/certificate.ts";
import {
  type DomainInput,
  type ListSource,
  makeTrustSnapshot,
  type Policy,
  readAuthorities,
  TrustError,
  type TrustMade,
  type TrustSnapshot,
} from "../pki/trust.ts";
import { readLists } from "./files/read_lists.ts";
import { pemText, readPem } from "./files/read_pem.ts";
import { LoadError, type LoadProblem } from "./load_error.ts";

/** Paths of the two files. */
export interface TrustPaths {
  readonly trustPem: string;
  /** Undefined where no revocation list is configured. */
  readonly crlsPem: string | undefined;
  /** Files of other trust domains; none where undefined. */
  readonly domains?: readonly DomainPaths[] | undefined;
}

/** Paths of one trust domain, and what its certificates may claim. */
export interface DomainPaths {
  readonly name: string;
  /** Its CA certificates (PEM), or its SPIFFE bundle (JSON). */
  readonly trust: string;
  readonly crlsPem: string | undefined;
  readonly roles?: readonly Role[] | undefined;
}

/** All files that a snapshot is made of. */
export function filesOf({ trustPem, crlsPem, domains = [] }: TrustPaths): readonly string[] {
  const files = [trustPem, crlsPem, ...domains.flatMap((domain) => [domain.trust, domain.crlsPem])];
  return files.filter((file) => file !== undefined);
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

/** What files said when they loaded, by their paths. */
export interface TrustSources {
  readonly bundles: ReadonlyMap<string, string>;
  /** Large lists as they lie in the snapshot, small ones as bytes. */
  readonly lists: ReadonlyMap<string, ListSource>;
}

/** A snapshot, and what it was made of. */
export interface TrustLoaded extends TrustMade {
  readonly sources: TrustSources;
  /** Why files did not load, in whose place stands what they said before; one for each. */
  readonly broken: readonly LoadError[];
}

/** Nothing was loaded before. */
export const noSources: TrustSources = { bundles: new Map(), lists: new Map() };

/** A thousand CA certificates of 64 kB, the most that a snapshot takes, as base64. */
export const trustBytesMax = 96 * 1024 * 1024;
/** A list of a million entries is 48 MB of base64; `pem.ts` takes 256 MB. */
export const crlsBytesMax = 256 * 1024 * 1024;

/**
 * Loads the files and makes a snapshot of them. Large files of lists are read in a thread of their own.
 *
 * @param paths The files.
 * @param terms What else the snapshot is made of.
 * @param before What the files said before: a file that does not load stands as it was then, so that a torn bundle, or a
 * partner's, holds up no revocation. Fails with the first file that does not load where this mends nothing.
 */
export function loadTrust(
  paths: TrustPaths,
  terms: TrustTerms,
  before: TrustSources = noSources,
): Effect.Effect<TrustLoaded, LoadError, FileSystem> {
  const load = (broken: readonly LoadError[]): Effect.Effect<TrustLoaded, LoadError, FileSystem> =>
    loadFiles(paths, terms, standIns(before, broken)).pipe(
      Effect.map((loaded) => ({ ...loaded, broken })),
      Effect.catch((error) => {
        const { file } = error;
        const mends = before.bundles.has(file) || before.lists.has(file);
        return mends && broken.every((each) => each.file !== file)
          ? load([...broken, error])
          : Effect.fail(broken[0] ?? error);
      }),
    );
  return load([]);
}

/** What is known of the files that did not load. */
function standIns({ bundles, lists }: TrustSources, broken: readonly LoadError[]): TrustSources {
  const named = new Set(broken.map(({ file }) => file));
  return {
    bundles: new Map([...bundles].filter(([path]) => named.has(path))),
    lists: new Map([...lists].filter(([path]) => named.has(path))),
  };
}

function loadFiles(paths: TrustPaths, terms: TrustTerms, known: TrustSources) {
  const { policy } = terms;
  const bundles = new Map<string, string>();
  const lists = new Map<string, ListSource>();
  const take = ({ trust, crlsPem }: TrustFiles, key: string) =>
    Effect.map(loadDomain({ trust, crlsPem }, { policy, key, known }), (loaded) => {
      bundles.set(trust, loaded.trust);
      if (crlsPem !== undefined && loaded.crlsPem !== undefined) lists.set(crlsPem, loaded.crlsPem);
      return loaded;
    });
  return Effect.gen(function* () {
    const own = yield* take({ trust: paths.trustPem, crlsPem: paths.crlsPem }, "trust_pem");
    const domains: DomainInput[] = [];
    for (const { name, roles, ...files } of paths.domains ?? []) {
      const loaded = Effect.mapError(take(files, "trust_domains"), (error) => named(error, name));
      domains.push({ name, roles, ...yield* loaded });
    }
    const { trust: trustPem, crlsPem } = own;
    const made = yield* Effect.fromResult(makeTrustSnapshot({ ...terms, trustPem, crlsPem, domains }));
    return { ...made, sources: { bundles, lists } };
  }).pipe(Effect.mapError((error) => error._tag === "TrustError" ? located(error, paths) : error));
}

type TrustFiles = Pick<DomainPaths, "trust" | "crlsPem">;

function loadDomain(
  { trust, crlsPem }: TrustFiles,
  { policy, key, known }: { readonly policy: Policy; readonly key: string; readonly known: TrustSources },
) {
  return Effect.gen(function* () {
    const text = known.bundles.get(trust) ??
      (yield* readPem({ path: trust, what: "trust bundle", bytesMax: trustBytesMax, key, wanted: "certificate" })).text;
    if (crlsPem === undefined) return { trust: text, crlsPem };
    const before = known.lists.get(crlsPem);
    if (before !== undefined) return { trust: text, crlsPem: before };
    const cas = yield* Effect.fromResult(readAuthorities(text));
    const options = { path: crlsPem, what: "file of revocation lists", bytesMax: crlsBytesMax, key: "crls_pem" };
    const lists = yield* readLists(options, { cas, policy });
    if (!(lists instanceof Uint8Array)) return { trust: text, crlsPem: lists };
    return {
      trust: text,
      crlsPem: yield* Effect.fromResult(pemText(lists, { ...options, wanted: "revocation list" })),
    };
  });
}

function named(error: LoadError | TrustError, domain: string): LoadError | TrustError {
  if (error._tag === "LoadError") return error;
  const { input, problem, line, detail, hint } = error;
  return new TrustError({ input, problem, line, detail, hint, domain });
}

function located({ input, problem, line, detail, hint, domain }: TrustError, paths: TrustPaths): LoadError {
  const kind: LoadProblem = problem === "empty" || problem === "no-ca"
    ? "empty"
    : problem === "too-many"
    ? "too-large"
    : problem === "crl-signature" || problem === "crl-rollback"
    ? "rejected"
    : "malformed";
  const { trust, crlsPem } = paths.domains?.find(({ name }) => name === domain) ??
    { trust: paths.trustPem, crlsPem: paths.crlsPem };
  const file = input === "trust_pem" ? trust : crlsPem ?? trust;
  return new LoadError({ file, line, problem: kind, detail, mend: hint });
}
