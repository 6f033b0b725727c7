/**
 * A CA from its configuration: certificates, key and register.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Effect, Result } from "effect";
import { parseCertificate } from "../../pki/certificate.ts";
import { fileSigner, IssueError, type Signer } from "../../pki/issue/mod.ts";
import { isPkcs11Uri } from "../../pki/issue/pkcs11_uri.ts";
import { parsePem } from "../../pki/pem.ts";
import { SignerError, type SignerProblem } from "../pkcs11/signer_error.ts";
import { openPkcs11Signer, type Pkcs11Signer } from "../pkcs11/pkcs11_signer.ts";
import type { TokenTiming } from "../pkcs11/token_process.ts";
import type { CaAlarm } from "./alarm.ts";
import {
  type CaConfig,
  CaConfigError,
  type CaFiles,
  identityLifetimeDefaultMs,
  lifetimeDefaultMs,
} from "./ca_config.ts";
import {
  type AuthorityParts,
  type AuthorityUnusable,
  type CertificateAuthority,
  makeAuthority,
  readCa,
} from "./certificate_authority.ts";
import { Register } from "./register.ts";
import type { RegisterFailure } from "./register_failure.ts";
import { shellWord } from "../files/shell_word.ts";

/** Where a CA's register is. */
export const registerPath = (config: Pick<CaConfig, "stateDir">): string => join(config.stateDir, "ca.db");
/** Where a CA's admin socket is. */
export const socketPath = (config: Pick<CaConfig, "stateDir">): string => join(config.stateDir, "admin.sock");

/** How a CA is opened. */
export interface OpenOptions {
  /** The register; by default the one of the configuration. */
  readonly file?: string | undefined;
  /** Time limits of tokens. */
  readonly tokenTiming?: TokenTiming | undefined;
  /** `none` opens no key: the CA signs nothing. */
  readonly keys?: "none" | undefined;
}

/**
 * Opens a CA. The caller closes its register. Keys are opened: a missing file, a wrong PIN or a missing token ends the start. Those of a
 * retired CA do not: its `keyFailure` has the reason.
 */
export function openAuthority(
  config: CaConfig,
  onAlarm: (alarm: CaAlarm) => void,
  { file = registerPath(config), tokenTiming, keys }: OpenOptions = {},
): Effect.Effect<CertificateAuthority, CaConfigError | RegisterFailure> {
  return Effect.gen(function* () {
    const opened: Pkcs11Signer[] = [];
    const release = Effect.sync(() => opened.forEach((each) => each.end()));
    const partsOf = (files: CaFiles, mayBeAway = false) => readFiles(files, { opened, tokenTiming, keys, mayBeAway });
    return yield* Effect.onError(
      Effect.gen(function* () {
        const own = yield* Effect.mapError(partsOf(config), withWayOut);
        const retired = yield* Effect.forEach(config.retired, (each) => partsOf(each, true));
        const nextChain = config.next === undefined ? [] : yield* Effect.fromResult(readChain(config.next.chainPem));
        return yield* Effect.fromResult(openWith(config, { ...own, retired, next: nextChain, file, onAlarm }));
      }),
      () => release,
    );
  });
}

/** The same failure; where the token is away, with the command for one that does not come back. */
function withWayOut({ file, detail, mayPass }: CaConfigError): CaConfigError {
  if (mayPass !== true) return new CaConfigError({ file, detail });
  const help = "If the key is lost: hypha-ca rotate --cert FILE --key KEY, twice, with another CA below the root";
  return new CaConfigError({ file, detail: `${detail} ${help}`, mayPass });
}

interface OpenParts extends CaParts {
  readonly retired: readonly CaParts[];
  readonly next: readonly Uint8Array[];
  readonly file: string;
  readonly onAlarm: (alarm: CaAlarm) => void;
}

function openWith(
  config: CaConfig,
  { file, ...parts }: OpenParts,
): Result.Result<CertificateAuthority, CaConfigError | RegisterFailure> {
  return Result.gen(function* () {
    const newWithOld = config.newWithOldPem === undefined ? [] : yield* readChain(config.newWithOldPem);
    const register = yield* Register.open(file);
    const lifetimeMs: AuthorityParts["lifetimeMs"] = (role) =>
      config.lifetimesMs[role ?? ""] ?? (role === "identity" ? identityLifetimeDefaultMs : lifetimeDefaultMs);
    const made = makeAuthority({ ...config, ...parts, register, newWithOld, lifetimeMs });
    if (Result.isFailure(made)) register.close();
    return yield* Result.mapError(
      made,
      ({ part, detail }) => new CaConfigError({ file: fileOf(config, part), detail }),
    );
  });
}

/** The file that is at fault. */
function fileOf({ chainPem, next, retired, newWithOldPem }: CaConfig, part: AuthorityUnusable["part"]): string {
  if (typeof part === "number") return retired[part]?.chainPem ?? chainPem;
  return { issuing: undefined, next: next?.chainPem, newWithOld: newWithOldPem }[part] ?? chainPem;
}

/** Checks a CA that a configuration is to name: that it is one, with this key, and below the root. */
export function checkCa(
  { chain, key, file }: {
    /** DER: its certificate, and those above it. */
    readonly chain: readonly Uint8Array[];
    /** A file or a URI. */
    readonly key: string;
    /** The file with its certificate. */
    readonly file: string;
  },
): Effect.Effect<void, CaConfigError> {
  const opened: Pkcs11Signer[] = [];
  return Effect.ensuring(
    Effect.flatMap(openSigner(key, { opened }), (signer) => {
      const read = Result.mapError(readCa(chain, signer), ({ detail }) => new CaConfigError({ file, detail }));
      return Effect.asVoid(Effect.fromResult(read));
    }),
    Effect.sync(() => opened.forEach((each) => each.end())),
  );
}

type CaParts = Pick<AuthorityParts, "signer" | "chain">;

interface Opening extends Pick<OpenOptions, "tokenTiming" | "keys"> {
  /** Takes the keys in tokens that were opened. */
  readonly opened: Pkcs11Signer[];
  /** Whether the CA starts without the key. */
  readonly mayBeAway?: boolean;
}

/** A CA's certificate with those above it, and its key. */
function readFiles({ chainPem, keyPem }: CaFiles, opening: Opening): Effect.Effect<CaParts, CaConfigError> {
  return Effect.gen(function* () {
    const chain = yield* Effect.fromResult(readChain(chainPem));
    const keyless = Effect.fromResult(noSigner(chain, chainPem));
    if (opening.keys === "none") return { chain, signer: yield* keyless };
    const spki = opening.mayBeAway === true ? (yield* keyless).spki() : undefined;
    return { chain, signer: yield* openSigner(keyPem, opening, spki) };
  });
}

/** In a key's place: it has the certificate's public half, and signs nothing. */
function noSigner([own]: readonly Uint8Array[], file: string): Result.Result<Signer, CaConfigError> {
  return Result.mapBoth(parseCertificate(own ?? new Uint8Array()), {
    onFailure: ({ message: detail }) => new CaConfigError({ file, detail }),
    onSuccess: ({ publicKey: { spki } }) => ({
      spki: () => spki,
      sign: () => Promise.reject(new Error("the CA's key is not opened")),
    }),
  });
}

/** A key: a file, or the URI of one in a token. With the public half, one that cannot be used now is opened later. */
function openSigner(key: string, opening: Opening, spki?: Uint8Array): Effect.Effect<Signer, CaConfigError> {
  if (isPkcs11Uri(key)) return openKey(key, opening, spki);
  const read = readKey(key);
  const isLate = Result.isFailure(read) && spki !== undefined;
  return isLate ? Effect.succeed(lateSigner(key, spki, read.failure)) : Effect.fromResult(read);
}

/** A key whose file cannot be read: each signature tries again. */
function lateSigner(file: string, spki: Uint8Array, problem: CaConfigError): Signer {
  let failure: CaConfigError | undefined = problem;
  let signer: Signer | undefined;
  return {
    spki: () => spki,
    failure: () => failure,
    sign: async (bytes) => {
      const read = signer === undefined ? readKey(file) : Result.succeed(signer);
      if (Result.isFailure(read)) throw failure = read.failure;
      if (Buffer.compare(read.success.spki(), spki) !== 0) {
        throw failure = new CaConfigError({ file, detail: "it is not the key of the retired CA's certificate" });
      }
      signer = read.success;
      failure = undefined;
      return await signer.sign(bytes);
    },
  };
}

/** A token that is away may come back, and a module works once its vendor's daemon has started. A wrong PIN is not presented again: tokens lock. */
const passing: ReadonlySet<SignerProblem> = new Set(["token-missing", "signer-unavailable", "module-failed"]);

function openKey(
  uri: string,
  { opened, tokenTiming }: Opening,
  spki: Uint8Array | undefined,
): Effect.Effect<Signer, CaConfigError> {
  return Effect.tryPromise({
    try: async () => {
      const signer = await openPkcs11Signer(uri, { timing: tokenTiming, spki });
      opened.push(signer);
      return signer;
    },
    catch: (error) => {
      const mayPass = error instanceof SignerError && passing.has(error.code);
      return new CaConfigError({ file: "key_pem", detail: (error as Error).message, mayPass });
    },
  });
}

function readKey(file: string): Result.Result<Signer, CaConfigError> {
  return Result.gen(function* () {
    if ((statSync(file, { throwIfNoEntry: false })?.mode ?? 0) & 0o077) {
      return yield* Result.fail(
        new CaConfigError({ file, detail: `others can read it: chmod 600 ${shellWord(file)}` }),
      );
    }
    const keyPem = yield* read(file);
    const unusable = (error: unknown) =>
      new CaConfigError({ file, detail: error instanceof IssueError ? error.detail : String(error) });
    return yield* Result.try({ try: () => fileSigner(keyPem), catch: unusable });
  });
}

function readChain(file: string): Result.Result<readonly Uint8Array[], CaConfigError> {
  return Result.flatMap(read(file), (pem) =>
    Result.mapBoth(parsePem(pem), {
      onFailure: ({ message }) => new CaConfigError({ file, detail: message }),
      onSuccess: (blocks) =>
        blocks.filter(({ label }) => label === "CERTIFICATE").map(({ der }) => Uint8Array.from(der)),
    }));
}

function read(file: string): Result.Result<string, CaConfigError> {
  return Result.try({
    try: () => readFileSync(file, "utf8"),
    catch: (error) => new CaConfigError({ file, detail: (error as Error).message }),
  });
}
