/**
 * The state directory (`state_dir`): what a node remembers between two runs.
 *
 * ```
 * state_dir/            0700
 *   crl_marks.json      0600  high-water marks of revocation lists (`pki/crl_marks.ts`)
 *   crls/DOMAIN/        0700  the lists that made them, and those that the network brought, DER:
 *                             KEY-SCOPE.crl, KEY-SCOPE-delta.crl, KEY-SCOPE-other.crl (contradicting ones)
 * ```
 *
 * DOMAIN is the name of the trust domain, `@own` for the node's own; one that begins with a dot gets an `@` before it.
 * No defect of these files prevents a start.
 *
 * @module
 */
import { dirname, join, resolve } from "node:path";
import { Effect } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { PlatformError } from "effect/PlatformError";
import { ownDomain } from "../../pki/crl_marks.ts";
import { scopeNamePattern } from "../../pki/crl_scope.ts";
import type { Report } from "../runtime/ports.ts";
import { type MarksRead, parseMarks } from "./marks_text.ts";
import { readWhole, signatureOf } from "./read_whole.ts";
import { shellWord } from "./shell_word.ts";

/** Marks of 100 domains with 50 CAs each take 3 MB. */
export const marksBytesMax = 16 * 1024 * 1024;
/** Kept lists of one domain: three for each of the lists that one file may hold. */
export const keptFilesMax = 3_000;

/** What a kept file holds: the complete list, its delta, or lists that contradict those. */
export type KeptKind = "complete" | "delta" | "other";

/** A kept file. */
export interface KeptFile {
  readonly path: string;
  readonly domain: string;
  /** SHA-256 of the key that signed the lists in it. */
  readonly key: string;
  readonly scope: string;
  readonly kind: KeptKind;
}

/** A kept file, and what it looked like (`signatureOf`). */
export interface SeenFile extends KeptFile {
  readonly signature: string;
}

/** The content of the state directory when it was opened. */
export interface OpenedState extends Pick<MarksRead, "marks"> {
  /** `lost`: the file of marks is damaged, or missing although there are lists. */
  readonly marksFile: "read" | "lost";
  /** What an operator should know about it. */
  readonly reports: readonly Report[];
}

/** The file of marks, as it is. */
export interface MarksFile extends MarksRead {
  /** Undefined where there is none, or it cannot be read. */
  readonly text: string | undefined;
}

export const marksPath = (stateDir: string): string => join(stateDir, "crl_marks.json");
const folderName = (domain: string): string => domain.startsWith(".") ? `@${domain}` : domain;
/** The folder of a domain's kept lists. */
export const keptFolder = (stateDir: string, domain: string): string => join(stateDir, "crls", folderName(domain));
/** Where a fetched bundle of a partner's domain is kept. */
export const bundlePath = (stateDir: string, domain: string): string =>
  join(stateDir, "bundles", folderName(domain), "bundle.json");
/** Where a list is kept. */
export const keptPath = (stateDir: string, { domain, key, scope, kind }: Omit<KeptFile, "path">): string =>
  join(keptFolder(stateDir, domain), `${key}-${scope}${kind === "complete" ? "" : `-${kind}`}.crl`);

const keptName = /^([0-9a-f]{64})-((?:all|users|cas)[-rp0-9a-f]*?)(?:-(delta|other))?\.crl$/;

/**
 * Makes the state directory and the missing folders above it.
 *
 * On Node it makes one folder at a time: Node's recursive call never returns below `/proc`, which reports an existing folder
 * as missing. On Deno it makes one recursive call: with the least permissions, Deno may not even look at the folder above.
 */
export function makeStateDirectory(stateDir: string): Effect.Effect<void, PlatformError, FileSystem> {
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    if ("Deno" in globalThis) return yield* files.makeDirectory(stateDir, { recursive: true, mode: 0o700 });
    const isThere = (path: string) => Effect.match(files.stat(path), { onSuccess: () => true, onFailure: () => false });
    const missing: string[] = [];
    let place = resolve(stateDir);
    while (!(yield* isThere(place)) && place !== dirname(place)) {
      missing.unshift(place);
      place = dirname(place);
    }
    for (const each of missing) {
      yield* files.makeDirectory(each, { mode: 0o700 }).pipe(
        Effect.catchIf(({ reason }) => reason._tag === "AlreadyExists", () => Effect.void),
      );
    }
  });
}

/**
 * Opens the state directory, and makes it and the folders of lists where they are missing.
 *
 * @param domains Names of the trust domains whose lists matter, as marks have them.
 */
export function openState(
  stateDir: string,
  domains: readonly string[] = [ownDomain],
): Effect.Effect<OpenedState, never, FileSystem> {
  return Effect.gen(function* () {
    const reports: Report[] = [];
    const warn = (event: string, message: string, file: string) =>
      void reports.push({ level: "warn", event, message, fields: { file } });
    const files = yield* FileSystem;
    yield* Effect.ignore(makeStateDirectory(stateDir)); // the first write reports why it cannot be created
    for (const domain of domains) {
      yield* Effect.ignore(files.makeDirectory(keptFolder(stateDir, domain), { recursive: true, mode: 0o700 }));
    }
    const mode = yield* Effect.match(files.stat(stateDir), {
      onSuccess: (info) => info.mode,
      onFailure: () => 0,
    });
    if ((mode & 0o022) !== 0) {
      warn(
        "state.open",
        `Others may write into ${stateDir}: close it with: chmod 700 ${shellWord(stateDir)}`,
        stateDir,
      );
    }
    const { marks, problem, text } = yield* readMarks(stateDir);
    const kept = (yield* Effect.forEach(domains, (domain) => listKeptCrls(stateDir, domain))).flat();
    const isMissing = text === undefined && kept.length > 0;
    const path = marksPath(stateDir);
    if (problem !== undefined) warn("state.broken", brokenText(path, problem), path);
    else if (isMissing) warn("state.broken", brokenText(path, "is missing"), path);
    return { marks, marksFile: problem !== undefined || isMissing ? "lost" : "read", reports };
  });
}

/** The end of a sentence about what cannot be written. */
export function unwritableText(stateDir: string, detail: string): string {
  return `Cannot keep the marks of revocation lists in ${stateDir}: ${detail}. After a restart ` +
    `the node would accept an older list. Give the directory to the node's user, or name another in state_dir.`;
}

const brokenText = (path: string, problem: string) =>
  `${path} ${problem}: the node takes the marks from the lists kept next to it and writes the file again`;

/** Reads the file of marks. */
export function readMarks(stateDir: string): Effect.Effect<MarksFile, never, FileSystem> {
  const path = marksPath(stateDir);
  const options = { path, what: "file of CRL marks", bytesMax: marksBytesMax, key: "state_dir" };
  return Effect.match(readWhole(options), {
    onSuccess: ({ text }): MarksFile => ({ ...parseMarks(text), text }),
    onFailure: ({ problem, detail }): MarksFile => ({
      marks: {},
      problem: problem === "missing" ? undefined : `cannot be read (${detail})`,
      text: undefined,
    }),
  });
}

/** Looks at the kept lists of domains. Never fails: a folder that cannot be read has none. */
export function lookAtKept(
  stateDir: string,
  domains: readonly string[],
): Effect.Effect<readonly SeenFile[], never, FileSystem> {
  const look = (file: KeptFile) => Effect.map(signatureOf(file.path), (signature) => ({ ...file, signature }));
  const kept = Effect.forEach(domains, (domain) => listKeptCrls(stateDir, domain));
  return Effect.flatMap(kept, (files) => Effect.forEach(files.flat(), look));
}

function listKeptCrls(stateDir: string, domain: string): Effect.Effect<readonly KeptFile[], never, FileSystem> {
  const folder = keptFolder(stateDir, domain);
  const names = Effect.flatMap(FileSystem, (files) => files.readDirectory(folder));
  return Effect.map(
    Effect.catch(names, () => Effect.succeed([])),
    (found) =>
      found.slice(0, keptFilesMax).flatMap((name) => {
        const [, key, scope, kind = "complete"] = keptName.exec(name) ?? [];
        if (key === undefined || scope === undefined || !scopeNamePattern.test(scope)) return [];
        return [{ path: join(folder, name), domain, key, scope, kind: kind as KeptKind }];
      }),
  );
}
