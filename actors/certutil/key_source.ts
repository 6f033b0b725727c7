/**
 * Keys that an operator names: a file, or the URI of a key in a PKCS#11 token.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { fileSigner, IssueError, type Signer } from "../../pki/issue/mod.ts";
import { isPkcs11Uri, parsePkcs11Uri } from "../../pki/issue/pkcs11_uri.ts";
import { openPkcs11Signer, shownUri } from "../pkcs11/pkcs11_signer.ts";
import { SignerError } from "../pkcs11/signer_error.ts";
import { CertutilError, fromIssueError } from "./certutil_error.ts";
import { type InputRole, readPemInput } from "./input_file.ts";
import { decryptKey, readPassphrase } from "./passphrase.ts";

/** How a key is named, and where its passphrase or PIN is, as `--passin` gives it. */
export interface KeySource {
  readonly key: string;
  readonly passin?: string | undefined;
}

/**
 * A signer with the named key. `--passin` names the passphrase of an encrypted file; of a token, the PIN where the URI names none.
 *
 * @param role What the key is, for messages.
 */
export function readSigner(source: KeySource, role: InputRole): Effect.Effect<Signer, CertutilError, FileSystem> {
  return isPkcs11Uri(source.key) ? openToken(source, role) : readKeyFile(source, role);
}

function readKeyFile({ key, passin }: KeySource, role: InputRole): Effect.Effect<Signer, CertutilError, FileSystem> {
  return Effect.gen(function* () {
    const text = yield* readPemInput(key, role, "private key");
    const keyPem = yield* decryptKey(text, key, passin);
    return yield* Effect.try({
      try: () => fileSigner(keyPem),
      catch: (error) => {
        if (!(error instanceof IssueError)) throw error;
        return fromIssueError("sign with", new IssueError({ problem: "issuer-key", detail: error.detail }), key);
      },
    });
  });
}

function openToken({ key, passin }: KeySource, role: InputRole): Effect.Effect<Signer, CertutilError, FileSystem> {
  return Effect.gen(function* () {
    const pin = yield* pinFor(key, passin);
    return yield* fromToken(`use ${role.what}`, key, () => openPkcs11Signer(key, { pin }));
  });
}

/** The PIN that `--passin` names, where the URI has none: otherwise the source is not read. */
export function pinFor(
  uri: string,
  passin: string | undefined,
): Effect.Effect<string | undefined, CertutilError, FileSystem> {
  const parsed = Result.getOrUndefined(parsePkcs11Uri(uri));
  return passin === undefined || parsed === undefined || parsed.pin !== undefined
    ? Effect.succeed(undefined)
    : readPassphrase(passin);
}

/** What is asked of a token, with the operator's error. */
export function fromToken<A>(what: string, uri: string, ask: () => Promise<A>): Effect.Effect<A, CertutilError> {
  return Effect.catch(
    Effect.tryPromise({ try: ask, catch: (error) => error }),
    (error) => error instanceof SignerError ? Effect.fail(fromSignerError(what, error, uri)) : Effect.die(error),
  );
}

/** A token's error in the operator's words. */
export function fromSignerError(what: string, { code, detail, hint, key }: SignerError, uri = key): CertutilError {
  return new CertutilError({ what, file: shownUri(uri), detail: `${detail} (${code})`, remedy: hint });
}
