/**
 * Reading of the trust bundle and the revocation lists into a snapshot.
 *
 * @module
 */
import { dirname } from "node:path";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { CrlRequirement, HeldCrl } from "../../pki/crl.ts";
import { type CrlHighWaterMarks, domainKey, markKey, mergeMarks } from "../../pki/crl_marks.ts";
import type { MemberRole } from "../../pki/certificate.ts";
import {
  type CrlSource,
  type DomainInput,
  makeTrustSnapshot,
  type Policy,
  readAuthorities,
  TrustError,
  type TrustMade,
} from "../../pki/trust.ts";
import { parseSpiffeBundle } from "../../pki/spiffe_bundle.ts";
import type { TrustWarning } from "../../pki/trust_warning.ts";
import { type LearnedFile, type LearnedFiles, type LearnedRead, readLearned } from "../files/read_learned.ts";
import { readCrls } from "../files/read_crls.ts";
import { pemText, readPem } from "../files/read_pem.ts";
import { readWhole } from "../files/read_whole.ts";
import {
  keptFolder,
  lookAtKept,
  marksPath,
  type OpenedState,
  openState,
  type SeenFile,
} from "../files/state_directory.ts";
import { LoadError, type LoadProblem } from "../files/load_error.ts";
import type { Report } from "../runtime/ports.ts";

/** Paths of the two files. */
export interface TrustPaths {
  readonly trustPem: string;
  /** Undefined where no revocation list is configured. */
  readonly crlsPem: string | undefined;
  /** Whether a certificate of the node's own bundle needs a list. They are required where `crlsPem` is set. */
  readonly crls?: CrlRequirement | undefined;
  /** The node's own trust domain; undefined: certificates of its bundle may claim any but those of `domains`. */
  readonly ownName?: string | undefined;
  /** Files of other trust domains; none where undefined. */
  readonly domains?: readonly DomainPaths[] | undefined;
}

/** Paths of one trust domain, and what its certificates may claim. */
export interface DomainPaths {
  readonly name: string;
  /** Its CA certificates (PEM), or its SPIFFE bundle (JSON). */
  readonly trust: string;
  /** The node fetches the file. One that is not there yet has no anchor. One that does not load ends no start: it has none until it does. */
  readonly fetched?: true | undefined;
  /** The root that a fetched file must have (`markKey`); any where undefined. */
  readonly pin?: string | undefined;
  readonly crlsPem: string | undefined;
  /** Whether its certificates need a list. They are required where `crlsPem` is set. */
  readonly crls?: CrlRequirement | undefined;
  readonly roles?: readonly MemberRole[] | undefined;
  /** The node's own policy where undefined. */
  readonly policy?: Policy | undefined;
}

/** All files that a snapshot is made of. */
export function filesOf({ trustPem, crlsPem, domains = [] }: TrustPaths): readonly string[] {
  const files = [trustPem, crlsPem, ...domains.flatMap((domain) => [domain.trust, domain.crlsPem])];
  return files.filter((file) => file !== undefined);
}

/** The trust domains, as marks name them. */
export function domainsOfPaths({ domains = [] }: TrustPaths): readonly string[] {
  return [undefined, ...domains.map(({ name }) => name)].map(domainKey);
}

/** Input of a snapshot in addition to the files. */
export interface TrustTerms {
  readonly policy: Policy;
  readonly generation: number;
  readonly at: Date;
  /** The marks so far: none where undefined. */
  readonly crlMarks?: CrlHighWaterMarks | undefined;
  /** The lists of the snapshot in force, by `domainKey`. Undefined at a start. */
  readonly seenLists?: ReadonlyMap<string, readonly HeldCrl[]> | undefined;
  /**
   * Directory with the marks and lists of an earlier run, and the lists that the network brought. It is opened at a start. Older
   * lists are joined with the kept ones, with a warning.
   */
  readonly stateDir?: string | undefined;
  /** The files of lists in the state directory, as they were read before; none where undefined. */
  readonly learned?: LearnedFiles | undefined;
}

/** The content of the files when they loaded, by their paths. */
export interface TrustSources {
  readonly bundles: ReadonlyMap<string, string>;
  /** Large lists as the snapshot holds them, small ones as bytes. */
  readonly lists: ReadonlyMap<string, CrlSource>;
}

/** A snapshot, and what it was made of. */
export interface TrustLoaded extends TrustMade {
  readonly sources: TrustSources;
  /** Why files did not load; one error for each. */
  readonly broken: readonly LoadError[];
  /**
   * Files whose previous content the snapshot uses, or none where a fetched one did not load yet: broken ones, and those of a domain
   * that do not go together with them.
   */
  readonly previous: ReadonlySet<string>;
  /** The files of lists in the state directory. */
  readonly learned: LearnedFiles;
  /** What an operator should know about the state directory. */
  readonly reports: readonly Report[];
}

/** No file was loaded before. */
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
 * @param before The previous content of the files. It replaces a file that does not load, so that a torn bundle, or a
 * partner's, delays no revocation. Fails with the first file that does not load where there is no previous content.
 * @param reading `all`: the files are read. `learned`: their previous content is taken, and the state directory alone is read.
 */
export function loadTrust(
  paths: TrustPaths,
  terms: TrustTerms,
  before: TrustSources = noSources,
  reading: "all" | "learned" = "all",
): Effect.Effect<TrustLoaded, LoadError, FileSystem> {
  const load = (
    state: Pick<OpenedTerms, "opened" | "seen">,
    broken: readonly LoadError[],
    previous: ReadonlySet<string> = new Set(reading === "all" ? [] : filesOf(paths)),
  ): Effect.Effect<TrustLoaded, LoadError, FileSystem> =>
    loadFiles(paths, { ...terms, ...state, reading }, standIns(paths, before, previous)).pipe(
      Effect.map((loaded) => ({ ...loaded, broken, previous })),
      Effect.catch((error) => {
        const next = withPrevious(error.file, paths, { before, previous });
        const errors = broken.some(({ file }) => file === error.file) ? broken : [...broken, error];
        return next === undefined ? Effect.fail(firstOf(broken, before) ?? error) : load(state, errors, next);
      }),
    );
  const { stateDir, seenLists } = terms;
  return Effect.gen(function* () {
    const isStart = stateDir !== undefined && seenLists === undefined;
    const opened = isStart ? yield* openState(stateDir, domainsOfPaths(paths)) : undefined;
    if (isStart) yield* makeBundleFolders(paths);
    return yield* load({ opened, seen: yield* lookAtLearned(paths, stateDir) }, []);
  });
}

/** Reads the files of lists in the state directory that changed since they were read, under the bundles as they loaded last. */
export function loadLearned(
  paths: TrustPaths,
  terms: TrustTerms,
  before: TrustSources,
): Effect.Effect<LearnedRead, TrustError, FileSystem> {
  return Effect.gen(function* () {
    const seen = yield* lookAtLearned(paths, terms.stateDir);
    const files = new Map<string, LearnedFile>();
    const reports: Report[] = [];
    const own = { name: undefined, trust: paths.trustPem, crlsPem: paths.crlsPem };
    for (const { name, trust, crlsPem } of [own, ...paths.domains ?? []]) {
      const bundle = { trust: before.bundles.get(trust), crlsPem: before.lists.get(crlsPem ?? "") };
      const running = { ...terms, seen, opened: undefined, reading: "learned" } as const;
      const read = yield* readOfDomain(domainKey(name), bundle, running);
      for (const [path, file] of read.files) files.set(path, file);
      reports.push(...read.reports);
    }
    return { files, reports };
  });
}

/** The folders of fetched bundles: they are watched before there is a file. */
function makeBundleFolders({ domains = [] }: TrustPaths): Effect.Effect<void, never, FileSystem> {
  const make = (path: string) =>
    Effect.flatMap(FileSystem, (files) => files.makeDirectory(dirname(path), { recursive: true, mode: 0o700 }));
  const fetchedOnes = domains.filter(({ fetched }) => fetched);
  return Effect.forEach(fetchedOnes, ({ trust }) => Effect.ignore(make(trust)), { discard: true });
}

function lookAtLearned(paths: TrustPaths, stateDir: string | undefined) {
  return stateDir === undefined ? Effect.succeed([]) : lookAtKept(stateDir, domainsOfPaths(paths));
}

/** The lists of one domain in the state directory. */
function readOfDomain(
  domain: string,
  bundle: { readonly trust: string | undefined; readonly crlsPem: CrlSource | undefined },
  terms: OpenedTerms,
): Effect.Effect<LearnedRead, TrustError, FileSystem> {
  return Effect.gen(function* () {
    const own = terms.seen.filter((file) => file.domain === domain);
    if (own.length === 0 || bundle.trust === undefined) return { files: new Map(), reports: [] };
    const { policy, at, opened, learned = new Map(), seenLists, crlMarks = {} } = terms;
    const { crlsPem } = bundle;
    const read = crlsPem === undefined || typeof crlsPem === "string" || crlsPem instanceof Uint8Array ? [] : crlsPem;
    return yield* readLearned(own, {
      ...{ domain, policy, at, before: learned },
      cas: yield* Effect.fromResult(readAuthorities(bundle.trust)),
      marks: opened?.marks ?? crlMarks,
      marksFile: opened?.marksFile ?? "read",
      known: [...seenLists?.get(domain) ?? [], ...read.map(({ list }) => list)],
      when: opened === undefined ? "running" : "start",
      retry: terms.reading === "all" ? "unusable" : "none",
    });
  });
}

/**
 * The files of which the previous content is used, after one more of them did not load: this file's; and where that does not go
 * together with the other file of its trust domain, both. No domain's files hold up another's.
 *
 * @returns Undefined where there is no previous content, or it was of no use.
 */
function withPrevious(
  file: string,
  paths: TrustPaths,
  { before: { bundles, lists }, previous }: { readonly before: TrustSources; readonly previous: ReadonlySet<string> },
): ReadonlySet<string> | undefined {
  const own = { trust: paths.trustPem, crlsPem: paths.crlsPem };
  const domains = [own, ...paths.domains ?? []].map(({ trust, crlsPem }) => [trust, crlsPem]);
  const both = domains.filter((files) => files.includes(file)).flat().filter((path) => path !== undefined);
  const wanted = previous.has(file) ? both : [file];
  const isThere = wanted.every((path) => bundles.has(path) || lists.has(path) || isFetched(path, paths));
  return isThere && !wanted.every((path) => previous.has(path)) ? new Set([...previous, ...wanted]) : undefined;
}

/** The first of these errors that previous content stands in for. */
function firstOf(broken: readonly LoadError[], { bundles, lists }: TrustSources): LoadError | undefined {
  return broken.find(({ file }) => bundles.has(file) || lists.has(file));
}

function isFetched(path: string, { domains = [] }: TrustPaths): boolean {
  return domains.some(({ trust, fetched }) => fetched === true && trust === path);
}

/** The content of files that are not read. A bundle is undefined where it was fetched and did not load yet. */
interface StandIns {
  readonly bundles: ReadonlyMap<string, string | undefined>;
  readonly lists: TrustSources["lists"];
}

/** The previous content of these files. */
function standIns(paths: TrustPaths, { bundles, lists }: TrustSources, previous: ReadonlySet<string>): StandIns {
  const bundleFiles = [...previous].filter((path) => bundles.has(path) || isFetched(path, paths));
  return {
    bundles: new Map(bundleFiles.map((path) => [path, bundles.get(path)])),
    lists: new Map([...lists].filter(([path]) => previous.has(path))),
  };
}

interface OpenedTerms extends TrustTerms {
  readonly opened: OpenedState | undefined;
  /** The files of lists in the state directory, looked at once: what is written meanwhile is the next reading's. */
  readonly seen: readonly SeenFile[];
  readonly reading: "all" | "learned";
}

function loadFiles(paths: TrustPaths, terms: OpenedTerms, known: StandIns) {
  const { policy, opened } = terms;
  const bundles = new Map<string, string>();
  const lists = new Map<string, CrlSource>();
  const learned = new Map<string, readonly HeldCrl[]>();
  const files = new Map<string, LearnedFile>();
  const reports: Report[] = [...opened?.reports ?? []];
  const take = ({ trust, crlsPem, fetched, pin }: TrustFiles, name: string | undefined) =>
    Effect.gen(function* () {
      const key = name === undefined ? "trust_pem" : "trust_domains";
      const loaded = yield* loadDomain({ trust, crlsPem, fetched, pin }, { policy, key, known });
      if (loaded.trust !== undefined) bundles.set(trust, loaded.trust);
      if (crlsPem !== undefined && loaded.crlsPem !== undefined) lists.set(crlsPem, loaded.crlsPem);
      const domain = domainKey(name);
      const found = yield* readOfDomain(domain, loaded, terms);
      learned.set(domain, [...found.files.values()].flatMap((file) => file.lists));
      for (const [path, file] of found.files) files.set(path, file);
      reports.push(...found.reports);
      // Refusing the file would also hold up what its other lists revoke.
      return { ...loaded, rollback: "report" } as const;
    });
  return Effect.gen(function* () {
    const { trust: trustPem = "", ...own } = yield* take({ trust: paths.trustPem, crlsPem: paths.crlsPem }, undefined);
    const domains: DomainInput[] = [];
    for (const { name, roles, policy, crls, ...files } of paths.domains ?? []) {
      const loaded = Effect.mapError(take(files, name), (error) => named(error, name));
      const fetched = files.fetched === true ? { fetched: { pin: files.pin } } : {};
      domains.push({ name, roles, policy, crls, ...fetched, ...yield* loaded });
    }
    const crlMarks = mergeMarks(opened?.marks ?? {}, terms.crlMarks ?? {});
    const { ownName, crls } = paths;
    const input = { ...terms, ...own, trustPem, ownName, crls, domains, crlMarks, learned };
    const made = yield* Effect.fromResult(makeTrustSnapshot(input));
    const warnings = made.warnings.map((warning) => placed(warning, paths, terms.stateDir));
    return { ...made, warnings, sources: { bundles, lists }, learned: files, reports };
  }).pipe(Effect.mapError((error) => error._tag === "TrustError" ? located(error, paths) : error));
}

type TrustFiles = Pick<DomainPaths, "trust" | "crlsPem" | "fetched" | "pin">;

function loadDomain(
  { trust, crlsPem, fetched, pin }: TrustFiles,
  { policy, key, known }: { readonly policy: Policy; readonly key: string; readonly known: StandIns },
) {
  return Effect.gen(function* () {
    const text = known.bundles.has(trust)
      ? known.bundles.get(trust)
      : fetched === true
      ? yield* readPinned(trust, pin)
      : (yield* readPem({ path: trust, what: "trust bundle", bytesMax: trustBytesMax, key, wanted: "certificate" }))
        .text;
    if (crlsPem === undefined) return { trust: text, crlsPem };
    const before = known.lists.get(crlsPem);
    if (before !== undefined) return { trust: text, crlsPem: before };
    const cas = text === undefined ? [] : yield* Effect.fromResult(readAuthorities(text));
    const options = { path: crlsPem, what: "file of revocation lists", bytesMax: crlsBytesMax, key: "crls_pem" };
    const lists = yield* readCrls(options, { cas, policy });
    if (!(lists instanceof Uint8Array)) return { trust: text, crlsPem: lists };
    return {
      trust: text,
      crlsPem: yield* Effect.fromResult(pemText(lists, { ...options, wanted: "revocation list" })),
    };
  });
}

/** A bundle that the node fetched; undefined where there is none. Fails where there is one that does not load, or has no pinned root. */
function readPinned(path: string, pin: string | undefined): Effect.Effect<string | undefined, LoadError, FileSystem> {
  const refuse = (problem: LoadProblem, detail: string) =>
    Effect.fail(new LoadError({ file: path, line: undefined, problem, detail, mend: "The node fetches it again." }));
  return Effect.matchEffect(readWhole({ path, what: "partner's bundle", bytesMax: trustBytesMax, key: "state_dir" }), {
    onSuccess: ({ text }) => {
      const parsed = parseSpiffeBundle(text);
      if (Result.isFailure(parsed)) return refuse("malformed", `it is no bundle: ${parsed.failure.detail}`);
      return parsed.success.authorities.some((each) => pin === undefined || markKey(each) === pin)
        ? Effect.succeed(text)
        : refuse("rejected", pin === undefined ? "it has no CA" : "it has no root with the key of bundle_pin");
    },
    onFailure: (error) => error.problem === "missing" ? Effect.undefined : Effect.fail(error),
  });
}

/** Names the file that a warning about older or contradicting lists is about, and what ends it where the CA is right. */
function placed(warning: TrustWarning, paths: TrustPaths, stateDir: string | undefined): TrustWarning {
  if (warning.code !== "crl-rollback" && warning.code !== "crl-equivocation") return warning;
  const { crlsPem = keptFolder(stateDir ?? "", domainKey(warning.domain)) } = pathsOf(paths, warning.domain);
  const place = warning.line === undefined ? crlsPem : `${crlsPem}:${warning.line}`;
  const anew = warning.code !== "crl-rollback" || stateDir === undefined
    ? ""
    : ` If the CA itself began to count anew, stop the node and forget what it saw: rm -r ${marksPath(stateDir)} ${
      keptFolder(stateDir, domainKey(warning.domain))
    }`;
  return { ...warning, message: `${place}: ${warning.message}${anew}` };
}

function pathsOf(paths: TrustPaths, domain: string | undefined): TrustFiles {
  return paths.domains?.find(({ name }) => name === domain) ?? { trust: paths.trustPem, crlsPem: paths.crlsPem };
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
  const { trust, crlsPem } = pathsOf(paths, domain);
  const file = input === "trust_pem" ? trust : crlsPem ?? trust;
  return new LoadError({ file, line, problem: kind, detail, mend: hint });
}
