/**
 * Making keys in PKCS#11 tokens.
 *
 * @module
 */
import { dirname } from "node:path";
import { Effect } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { isPkcs11Uri } from "../../pki/issue/pkcs11_uri.ts";
import { formatPem } from "../../pki/pem.ts";
import { type ExistingFiles, notWritten } from "../files/write_whole.ts";
import { generatePkcs11Key, shownUri } from "../pkcs11/pkcs11_signer.ts";
import { publicHalfHint } from "../pkcs11/signer_error.ts";
import type { TokenKeyAlgorithm } from "../pkcs11/token_messages.ts";
import { CertutilError, fromFileNotWritten } from "./certutil_error.ts";
import { readIfThere } from "./input_file.ts";
import { fromToken, pinFor } from "./key_source.ts";
import { type Outcome, placeOf, writeOutputs } from "./outcome.ts";
import { checkReplaced, type Output } from "./replacement.ts";

/** Options of `hypha-certutil keygen`. */
export interface MakeKey {
  /** RFC 7512. */
  readonly uri: string;
  readonly algorithm: TokenKeyAlgorithm;
  readonly passin?: string | undefined;
  /** Where the public key goes. */
  readonly outPublic: string;
  readonly existing: ExistingFiles;
}

/** Makes a key that cannot leave its token, and writes its public half. A key of the token is never replaced. */
export function makeKey(options: MakeKey): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  const { uri, algorithm, passin, outPublic, existing } = options;
  return Effect.gen(function* () {
    if (!isPkcs11Uri(uri)) {
      const remedy =
        "Name a key in a token: pkcs11:token=LABEL;object=KEY?module-path=MODULE; gen-ca, gen-cert and csr make files.";
      // What was written may hold the PIN: it is not shown.
      const detail = "the argument is not a pkcs11: URI";
      return yield* new CertutilError({ what: "make key", detail, remedy });
    }
    // Looked at first: a key that was made cannot be made again.
    yield* checkPublic(outPublic, existing);
    const pin = yield* pinFor(uri, passin);
    const spki = yield* fromToken("make key", uri, () => generatePkcs11Key(uri, algorithm, { pin }));
    const output: Output = { ...publicKeyAt(outPublic), content: formatPem("PUBLIC KEY", spki) };
    const { lines } = yield* Effect.mapError(
      writeOutputs([output], existing),
      ({ what, file, detail }) =>
        new CertutilError({ what, file, detail: `the key was made, but ${detail}`, remedy: publicHalfHint }),
    );
    return { lines: [`made ${algorithm} key ${shownUri(uri)}`, ...lines], warnings: [] };
  });
}

const publicKeyAt = (path: string) => ({ path, kind: "public-key", mode: 0o644 }) as const;

/** Refuses where the public key could not be written. */
const checkPublic = Effect.fnUntraced(function* (path: string, existing: ExistingFiles) {
  const there = yield* readIfThere(path, { what: "public key", flag: "--out-public" });
  if (existing === "keep" && there !== undefined) {
    const remedy = "No key was made; choose another name, or overwrite it with --force.";
    return yield* new CertutilError({ what: "write", file: path, detail: "it exists already", remedy });
  }
  yield* checkReplaced([{ ...publicKeyAt(path), content: "" }], existing, []);
  const place = yield* placeOf(path);
  const access = (yield* FileSystem).access(dirname(place), { writable: true });
  yield* Effect.mapError(access, (error) => fromFileNotWritten(notWritten(path, error)));
});
