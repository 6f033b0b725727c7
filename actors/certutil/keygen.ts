/**
 * Making keys in PKCS#11 tokens.
 *
 * @module
 */
import { Effect } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { isPkcs11Uri } from "../../pki/issue/pkcs11_uri.ts";
import { formatPem } from "../../pki/pem.ts";
import type { ExistingFiles } from "../files/write_whole.ts";
import { generatePkcs11Key, shownUri } from "../pkcs11/pkcs11_signer.ts";
import type { TokenKeyAlgorithm } from "../pkcs11/token_messages.ts";
import { CertutilError } from "./certutil_error.ts";
import { readIfThere } from "./input_file.ts";
import { fromToken, pinFor } from "./key_source.ts";
import { type Outcome, writeOutputs } from "./outcome.ts";
import type { Output } from "./replacement.ts";

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
    if (
      existing === "keep" && (yield* readIfThere(outPublic, { what: "public key", flag: "--out-public" })) !== undefined
    ) {
      const remedy = "No key was made; choose another name, or overwrite it with --force.";
      return yield* new CertutilError({ what: "write", file: outPublic, detail: "it exists already", remedy });
    }
    const pin = yield* pinFor(uri, passin);
    const spki = yield* fromToken("make key", uri, () => generatePkcs11Key(uri, algorithm, { pin }));
    const output: Output = { path: outPublic, kind: "public-key", content: formatPem("PUBLIC KEY", spki), mode: 0o644 };
    const { lines } = yield* writeOutputs([output], existing);
    return { lines: [`made ${algorithm} key ${shownUri(uri)}`, ...lines], warnings: [] };
  });
}
