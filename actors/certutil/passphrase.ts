/**
 * Passphrases of encrypted keys, named as OpenSSL names them.
 *
 * @module
 */
import process from "node:process";
import { createPrivateKey } from "node:crypto";
import { Buffer } from "node:buffer";
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { decodeDer, tags } from "../../pki/der.ts";
import { parsePem } from "../../pki/pem.ts";
import { CertutilError } from "./certutil_error.ts";
import { readInput } from "./input_file.ts";

/** PBES2 (RFC 8018 §A.4), and what the names of all sizes and modes of AES begin with. */
const pbes2Oid = "1.2.840.113549.1.5.13";
const aesOidPrefix = "2.16.840.1.101.3.4.1.";

/** Longest passphrase, in octets: OpenSSL reads no more than this either. */
export const passphraseBytesMax = 1_024;

const forms = "Write it as pass:TEXT, env:NAME, file:PATH, fd:NUMBER or stdin.";

/**
 * The passphrase that `--passin` names: `pass:TEXT` itself, `env:NAME` in the environment, `file:PATH` the first line of
 * a file, `fd:NUMBER` that of an open descriptor, `stdin` that of standard input.
 */
export function readPassphrase(source: string): Effect.Effect<string, CertutilError, FileSystem> {
  const refuse = (detail: string, remedy = forms) => new CertutilError({ what: "use --passin", detail, remedy });
  const [, kind, value = ""] = /^(pass|env|file|fd|stdin)(?::(.*))?$/s.exec(source) ?? [];
  return Effect.gen(function* () {
    switch (kind) {
      case "pass":
        return value;
      case "env": {
        const held = process.env[value];
        if (held !== undefined) return held;
        return yield* refuse(`the environment has no ${value}`, "Set the variable, and export it.");
      }
      case "file":
        return firstLine(yield* readInput(value, { what: "passphrase", flag: "--passin" }));
      case "fd":
        if (!/^\d{1,6}$/.test(value)) return yield* refuse(`fd:${value} is no descriptor`);
        return firstLine(yield* readInput(`/dev/fd/${value}`, { what: "passphrase", flag: "--passin" }));
      case "stdin":
        return firstLine(yield* readStandardInput(refuse));
      default:
        // What was written may be the passphrase: it is not shown.
        return yield* refuse("it does not say where the passphrase is");
    }
  });
}

function firstLine(text: string): string {
  return /^[^\r\n]*/.exec(text)![0];
}

function readStandardInput(refuse: (detail: string) => CertutilError): Effect.Effect<string, CertutilError> {
  const read = async () => {
    let text = "";
    for await (const chunk of process.stdin) {
      text += Buffer.from(chunk as Uint8Array).toString("utf8");
      if (text.includes("\n") || text.length > passphraseBytesMax) break;
    }
    return text;
  };
  return Effect.tryPromise({ try: read, catch: () => refuse("standard input cannot be read") });
}

const encrypted = /-----BEGIN ENCRYPTED PRIVATE KEY-----/;

/**
 * A key's PEM, decrypted where it is encrypted: PKCS#8, not encrypted.
 *
 * @param text The key file's text.
 * @param file Its path, for the message.
 * @param passin The value of `--passin`; undefined where it was not given.
 */
export function decryptKey(
  text: string,
  file: string,
  passin: string | undefined,
): Effect.Effect<string, CertutilError, FileSystem> {
  if (!encrypted.test(text)) return Effect.succeed(text);
  return Effect.gen(function* () {
    if (passin === undefined) {
      const remedy = `Say where its passphrase is, with --passin: ${forms.slice("Write it as ".length)} ` +
        "With --ca-key and --key, --passin is of --ca-key: decrypt the other key first.";
      return yield* new CertutilError({ what: "read key", file, detail: "it is encrypted", remedy });
    }
    const passphrase = yield* readPassphrase(passin);
    return yield* Effect.fromResult(decrypt(text, file, passphrase));
  });
}

function decrypt(text: string, file: string, passphrase: string): Result.Result<string, CertutilError> {
  return Result.try({
    try: () => {
      const key = createPrivateKey({ key: text, format: "pem", passphrase });
      return key.export({ type: "pkcs8", format: "pem" }) as string;
    },
    catch: (error) => {
      // What a runtime cannot decrypt (Deno: Triple DES and PKCS#12's schemes) is another matter than a wrong passphrase.
      // Yet one wrong passphrase in 250 leaves what looks padded, and OpenSSL then finds its content unsupported.
      const unsupported = /unsupported/i.test(String(error)) && !isEncryptedWithAes(text);
      return new CertutilError({
        what: "read key",
        file,
        detail: unsupported ? "its encryption is not supported, or it is damaged" : "the passphrase is wrong",
        remedy: unsupported
          ? "Encrypt it anew: openssl pkcs8 -in OLD -out PLAIN; openssl pkcs8 -topk8 -v2 aes256 -in PLAIN -out NEW."
          : "Check what --passin names.",
      });
    },
  });
}

/** Whether a key is encrypted with AES (PBES2: RFC 8018 §A.4 and §B.2.5), which each runtime decrypts. */
function isEncryptedWithAes(text: string): boolean {
  const [block] = Result.getOrElse(parsePem(text), () => []);
  if (block === undefined) return false;
  const cipher = decodeDer(block.der, (outermost) => {
    const key = outermost.enter(tags.sequence, "the encrypted key");
    const scheme = key.enter(tags.sequence, "the scheme");
    key.read(tags.octetString, "what is encrypted");
    if (scheme.oid("the scheme's name") !== pbes2Oid) return "";
    const parameters = scheme.enter(tags.sequence, "the scheme's parameters");
    parameters.read(tags.sequence, "the key derivation");
    return parameters.enter(tags.sequence, "the cipher").oid("the cipher's name");
  });
  return Result.getOrElse(cipher, () => "").startsWith(aesOidPrefix);
}
