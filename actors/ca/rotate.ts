/**
 * Rotating the CA that issues, step by step, in the CA's configuration: the next one is published, then issues while the one before is
 * retired, then the retired one is taken out when the root has revoked it. The root's key is not needed here.
 *
 * @module
 */
import { mkdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { Data, Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { type Certificate, parseCertificate } from "../../pki/certificate.ts";
import { isPkcs11Uri } from "../../pki/issue/pkcs11_uri.ts";
import { formatPem, parsePem } from "../../pki/pem.ts";
import { locateKeys } from "../config/locate.ts";
import { isLocked, lockFile } from "../files/file_lock.ts";
import { writeWhole } from "../files/write_whole.ts";
import type { ConfiguredCas } from "./authorities_fact.ts";
import { type CaConfig, type CaConfigError, type CaFiles, parseCaConfig } from "./ca_config.ts";
import { keyHash } from "./certificate_authority.ts";
import { checkCa } from "./open_authority.ts";

/** The CA that is to issue next. Made offline, by the root. */
export interface NextCa {
  readonly cert: string;
  readonly key: string;
}

/** What is asked. */
export interface RotateRequest {
  /** Path of the configuration. */
  readonly config: string;
  /** Begins a rotation; undefined goes on with it. */
  readonly next: NextCa | undefined;
  /** Whether the root's list that is published revokes a CA, by the hash of its key. Asked before the last step. */
  readonly isRevoked: (issuerId: string) => Effect.Effect<boolean, RotationRefused>;
  /** Asked for the CAs that the configuration has, and for those of the step before it is changed: where they wait for approvals, it fails. */
  readonly permit: (cas: ConfiguredCas) => Effect.Effect<void, RotationRefused>;
}

/** The step that was taken. The CA has to be started again. */
export interface Rotated {
  readonly step: "published" | "issuing" | "removed";
  /** Of the CA that it is about. */
  readonly subject: string;
}

/** A step cannot be taken. */
export class RotationRefused extends Data.TaggedError("RotationRefused")<{ readonly detail: string }> {
  override get message(): string {
    return `Cannot rotate: ${this.detail}`;
  }
}

type Failure = RotationRefused | CaConfigError;

/** Takes the next step of a rotation. Of two at once, one is refused: each would write the configuration that it read, with its own change. */
export function rotate(request: RotateRequest): Effect.Effect<Rotated, Failure, FileSystem | Path> {
  return Effect.flatMap(
    Effect.fromResult(readConfig(request.config)),
    ({ config: { stateDir } }) =>
      Effect.acquireUseRelease(
        Effect.try({
          try: () => {
            mkdirSync(stateDir, { recursive: true, mode: 0o700 }); // a register may be lost with its folder
            return lockFile(join(stateDir, "rotate-lock"));
          },
          catch: lockRefused,
        }),
        () => takeStep(request),
        (lock) => Effect.sync(() => lock.close()),
      ),
  );
}

const lockRefused = (error: unknown) =>
  refuse(
    isLocked(error)
      ? "another process rotates this CA. Look at what it did, then call rotate again"
      : (error as Error).message,
  );

function readConfig(file: string): Result.Result<Before, Failure> {
  return Result.gen(function* () {
    const toml = yield* readText(file);
    return { toml, config: yield* parseCaConfig(file, toml) };
  });
}

function takeStep(request: RotateRequest): Effect.Effect<Rotated, Failure, FileSystem | Path> {
  const { config: file, next } = request;
  return Effect.gen(function* () {
    const { toml, config } = yield* Effect.fromResult(readConfig(file));
    // With CAs that are not permitted, the CA cannot start: after a change by hand, a restored backup, or a request that has expired.
    yield* request.permit(yield* casOf(config));
    if (next !== undefined) return yield* publish(request, { toml, config }, next);
    if (config.next !== undefined) return yield* switchOver(request, { toml, config }, config.next);
    const [retired] = config.retired;
    if (retired !== undefined) return yield* remove(request, { toml, config });
    return yield* refuse("nothing has begun: give --cert and --key of the next CA");
  });
}

const refuse = (detail: string) => new RotationRefused({ detail });

/** A path as the configuration has it, relative to its file; the URI of a key in a token as it is. */
const fromFile = (file: string, path: string) =>
  isPkcs11Uri(path) ? path : relative(dirname(resolve(file)), resolve(path));

interface Before {
  readonly toml: string;
  readonly config: CaConfig;
}

function publish(
  { config: file, permit }: RotateRequest,
  { toml, config }: Before,
  { cert, key }: NextCa,
): Effect.Effect<Rotated, Failure, FileSystem | Path> {
  return Effect.gen(function* () {
    const { next } = config;
    if (next !== undefined && Result.isSuccess(yield* Effect.result(checkNext(next)))) {
      return yield* refuse("a rotation is under way: go on without --cert");
    }
    const [own] = yield* Effect.fromResult(readCertificates(cert));
    const chain = yield* Effect.fromResult(readCertificates(config.chainPem));
    const anchor = chain.at(-1);
    if (own === undefined || anchor === undefined) return yield* refuse(`${cert} has no certificate`);
    const id = keyHash(own.publicKey.spki);
    if (id === keyHash(chain[0]!.publicKey.spki)) return yield* refuse(`${cert} has the key of the CA that issues`);
    yield* checkCa({ chain: [own.der, anchor.der], key, file: cert });
    const chainFile = join(dirname(file), `ca-${id.slice(0, 8)}-cert.pem`);
    const content = [own, anchor].map(({ der }) => formatPem("CERTIFICATE", der)).join("");
    const lines = [
      `next_chain_pem = ${JSON.stringify(basename(chainFile))}`,
      `next_key_pem = ${JSON.stringify(fromFile(file, key))}`,
    ];
    // One whose key is lost can never issue: another one takes its place.
    const edits = next === undefined ? [{ after: ["ca", "key_pem"], lines }] : [
      { replaces: ["ca", "next_chain_pem"], lines: lines.slice(0, 1) },
      { replaces: ["ca", "next_key_pem"], lines: lines.slice(1) },
    ];
    const changed = yield* Effect.fromResult(edited(toml, edits));
    yield* permit({ ...(yield* casOf(config)), next: [id] });
    yield* write(file, changed, [{ path: chainFile, content }]);
    return { step: "published", subject: own.subject.text };
  });
}

function switchOver(
  { config: file, permit }: RotateRequest,
  { toml, config }: Before,
  next: CaFiles,
): Effect.Effect<Rotated, Failure, FileSystem | Path> {
  return Effect.gen(function* () {
    // Its key is not used before: it may have gone since it was published.
    const chain = yield* Effect.mapError(checkNext(next), ({ message }) =>
      refuse(
        `${message.replace(/^Cannot rotate: /, "")} If the next CA's key is lost, publish another CA in its place: ` +
          "hypha-ca rotate --cert FILE --key KEY",
      ));
    const line = (name: string, path: string) => `${name} = ${JSON.stringify(fromFile(file, path))}`;
    const { chainPem, keyPem } = config;
    const retired = ["", "[[ca.retired]]", line("chain_pem", chainPem), line("key_pem", keyPem)];
    const changed = yield* Effect.fromResult(edited(toml, [
      { replaces: ["ca", "chain_pem"], lines: [line("chain_pem", next.chainPem)] },
      { replaces: ["ca", "key_pem"], lines: [line("key_pem", next.keyPem)] },
      { replaces: ["ca", "next_chain_pem"], lines: [] },
      { replaces: ["ca", "next_key_pem"], lines: [] },
    ]));
    const before = yield* casOf(config);
    yield* permit({ issues: before.next[0] ?? "", next: [], retired: [...before.retired, before.issues] });
    yield* write(file, `${changed.trimEnd()}\n${retired.join("\n")}\n`);
    return { step: "issuing", subject: chain[0]?.subject.text ?? "" };
  });
}

/** Checks that the CA that is published can issue. Returns its certificate, with those above it. */
function checkNext({ chainPem, keyPem }: CaFiles): Effect.Effect<readonly Certificate[], Failure> {
  return Effect.gen(function* () {
    const chain = yield* Effect.fromResult(readCertificates(chainPem));
    yield* checkCa({ chain: chain.map(({ der }) => der), key: keyPem, file: chainPem });
    return chain;
  });
}

/** Takes out the first of the retired CAs that the root has revoked: one whose key is lost may be revoked before those retired earlier. */
function remove(
  { config: file, isRevoked, permit }: RotateRequest,
  { toml, config }: Before,
): Effect.Effect<Rotated, Failure, FileSystem | Path> {
  return Effect.gen(function* () {
    const retired = yield* Effect.forEach(config.retired, ({ chainPem }) =>
      Effect.flatMap(
        Effect.fromResult(readCertificates(chainPem)),
        ([own]) => own === undefined ? Effect.fail(refuse(`${chainPem} has no certificate`)) : Effect.succeed(own),
      ));
    let index = 0;
    while (index < retired.length && !(yield* isRevoked(keyHash(retired[index]!.publicKey.spki)))) index++;
    if (index === retired.length) {
      const [first, ...others] = retired.map(({ subject }) => subject.text);
      const which = others.length === 0
        ? `${first} is not revoked`
        : `none of ${[first, ...others].join("; ")} is revoked`;
      const detail = `${which}. When hypha-ca status counts no certificate below it, revoke it with the ` +
        "root's key (hypha-certutil revoke) and publish the root's list (hypha-ca root-list)";
      return yield* refuse(detail);
    }
    const changed = yield* Effect.fromResult(edited(toml, [
      { replaces: ["ca", "retired", index], lines: [] },
      { replaces: ["ca", "retired", index, "chain_pem"], lines: [] },
      { replaces: ["ca", "retired", index, "key_pem"], lines: [] },
    ]));
    const before = yield* casOf(config);
    yield* permit({ ...before, retired: before.retired.toSpliced(index, 1) });
    yield* write(file, changed);
    return { step: "removed", subject: retired[index]!.subject.text };
  });
}

/** The CAs of a configuration. */
const casOf = Effect.fnUntraced(function* ({ chainPem, next, retired }: CaConfig) {
  const idOf = (file: string) =>
    Effect.flatMap(
      Effect.fromResult(readCertificates(file)),
      ([own]) =>
        own === undefined
          ? Effect.fail(refuse(`${file} has no certificate`))
          : Effect.succeed(keyHash(own.publicKey.spki)),
    );
  return {
    issues: yield* idOf(chainPem),
    next: next === undefined ? [] : [yield* idOf(next.chainPem)],
    retired: yield* Effect.forEach(retired, (each) => idOf(each.chainPem)),
  };
});

/** Lines in the place of a key's line, or behind it. */
type Edit =
  & { readonly lines: readonly string[] }
  & (
    | { readonly replaces: readonly (string | number)[] }
    | { readonly after: readonly (string | number)[] }
  );

/** The text with other lines; the rest stays, with its comments. */
function edited(toml: string, edits: readonly Edit[]): Result.Result<string, RotationRefused> {
  const places = locateKeys(toml);
  const lines = toml.split("\n").map((line) => [line]);
  for (const edit of edits) {
    const path = "replaces" in edit ? edit.replaces : edit.after;
    const at = places.key(path);
    const before = at && lines[at.line - 1]?.[0];
    const name = path.at(-1);
    const isAlone = typeof name === "number"
      ? /^\s*\[\[.*\]\]\s*(#.*)?$/.test(before ?? "")
      : new RegExp(`^\\s*${name}\\s*=`).test(before ?? "");
    if (at === undefined || before === undefined || !isAlone) {
      return Result.fail(refuse(`${path.join(".")} has no line of its own in the configuration: change it by hand`));
    }
    lines[at.line - 1] = "replaces" in edit ? [...edit.lines] : [before, ...edit.lines];
  }
  return Result.succeed(lines.flat().join("\n"));
}

/** Writes the configuration, if it can be read, and what belongs to it. */
function write(
  file: string,
  toml: string,
  more: readonly { readonly path: string; readonly content: string }[] = [],
): Effect.Effect<void, Failure, FileSystem | Path> {
  return Effect.gen(function* () {
    yield* Effect.fromResult(parseCaConfig(file, toml));
    const { path, mode, uid } = yield* Effect.fromResult(targetOf(file));
    // Of a file of root that is closed to others, the CA's user is in the group.
    const isOpen = uid !== 0 || (mode & 0o007) !== 0;
    const own = { path, content: toml, mode: /\bpin-value=/i.test(toml) && isOpen ? 0o600 : mode };
    // The CA's user has to read them, also where root rotates.
    const files = [...more, own].map((each) => ({ ...each, accessAs: path }));
    yield* Effect.mapError(
      writeWhole(files, "replace"),
      ({ message }) => refuse(message),
    );
  });
}

/** The configuration itself, where a symbolic link names it, and who may read it. */
function targetOf(file: string) {
  return Result.try({
    try: () => {
      const { mode, uid } = statSync(file);
      return { path: realpathSync(file), mode: mode & 0o777, uid };
    },
    catch: (error) => refuse((error as Error).message),
  });
}

function readText(file: string): Result.Result<string, RotationRefused> {
  return Result.try({ try: () => readFileSync(file, "utf8"), catch: (error) => refuse((error as Error).message) });
}

function readCertificates(file: string): Result.Result<readonly Certificate[], RotationRefused> {
  return Result.gen(function* () {
    const blocks = yield* Result.mapError(parsePem(yield* readText(file)), ({ message }) => refuse(message));
    const read: Certificate[] = [];
    for (const { label, der } of blocks) {
      if (label !== "CERTIFICATE") continue;
      read.push(yield* Result.mapError(parseCertificate(Uint8Array.from(der)), ({ message }) => refuse(message)));
    }
    return read;
  });
}
