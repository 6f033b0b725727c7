/**
 * Flags that several commands of `hypha-certutil` share.
 *
 * @module
 */
import { Option } from "effect";
import { Flag } from "effect/cli";
import type { ExistingFiles } from "../../actors/files/write_whole.ts";

/** A flag with a file in it, which must be given. */
export function fileFlag(name: string, description: string): Flag.Flag<string> {
  return textFlag(name, "FILE", description);
}

/** A flag with a text in it, which must be given. */
function textFlag(name: string, metavar: string, description: string): Flag.Flag<string> {
  return Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(`${description} (required)`));
}

/** An optional flag with a text. Its description explains the default. */
export function optionalFlag(name: string, metavar: string, description: string): Flag.Flag<string | undefined> {
  return Flag.String(name).pipe(
    Flag.withMetavar(metavar),
    Flag.withDescription(description),
    Flag.optional,
    Flag.map(Option.getOrUndefined),
  );
}

/** `--force`. */
export const existingFlag: Flag.Flag<ExistingFiles> = Flag.Boolean("force").pipe(
  Flag.withDescription(
    "Replace files that are there, each by one of its kind, and no CA's key (default: nothing is replaced).",
  ),
  Flag.withDefault(false),
  Flag.map((force) => force ? "replace" as const : "keep" as const),
);

/** `--days`. */
export function daysFlag(days: number, what: string): Flag.Flag<number> {
  return Flag.Int("days").pipe(
    Flag.withMetavar("N"),
    Flag.withDescription(`Days until ${what} (default ${days}).`),
    Flag.withDefault(days),
  );
}

/** `--passin`. */
export const passinFlag: Flag.Flag<string | undefined> = optionalFlag(
  "passin",
  "SOURCE",
  "Passphrase of an encrypted key, or PIN of a token, of --ca-key where there is one: pass:TEXT, env:NAME, file:PATH, fd:NUMBER or stdin (default: none).",
);

/** `--issued`. */
export const issuedFlag: Flag.Flag<string | undefined> = optionalFlag(
  "issued",
  "FILE",
  "Record of what the CA issued (default: the CA's certificate file + .issued.tsv).",
);

/** The CA that signs. */
export const authorityFlags = {
  caCert: fileFlag("ca-cert", "Certificate of the CA that signs, PEM or DER."),
  caKey: textFlag(
    "ca-key",
    "KEY",
    "Key of the CA that signs: PKCS#8 in PEM or DER, may be encrypted; or a pkcs11: URI (RFC 7512).",
  ),
  passin: passinFlag,
};

/** The CA that issues, and keeps a record of it. */
export const issuerFlags = { ...authorityFlags, issued: issuedFlag };

/** Where certificate and key go. */
export const pairFlags = {
  outCert: fileFlag("out-cert", "Where the certificate goes (0644)."),
  outKey: fileFlag("out-key", "Where the key goes (0600)."),
  existing: existingFlag,
};

/** The key to certify: a new one, or one that is there. */
export const certifiedKeyFlags = {
  outKey: optionalFlag(
    "out-key",
    "FILE",
    "Where a new key goes, 0600 (default: none; one of --out-key and --key is required).",
  ),
  key: optionalFlag("key", "KEY", "Key that is there, in place of a new one: a file or a pkcs11: URI (default: none)."),
};

/** Where a CA's certificate goes, and its key. */
export const caPairFlags = {
  outCert: pairFlags.outCert,
  ...certifiedKeyFlags,
  passin: passinFlag,
  existing: existingFlag,
};

/** Parts of the subject. */
export const subjectFlags = {
  commonName: textFlag("common-name", "NAME", "Common name of the subject."),
  organization: optionalFlag("organization", "ORG", "Organisation of the subject (default: none)."),
  country: optionalFlag("country", "CC", "Country of the subject, two letters (default: none)."),
};

/** When a certificate is valid. */
export function lifetimeFlags(days: number) {
  return {
    days: daysFlag(days, "it expires"),
    notBefore: optionalFlag("not-before", "RFC3339", "When it becomes valid (default: a day ago)."),
    notAfter: optionalFlag(
      "not-after",
      "RFC3339",
      "When it expires, at its CA's end at the latest (default: after --days).",
    ),
  };
}

/** `--san`, once or several times, each time one name or several with commas between. Undefined when never given. */
export const sanFlag: Flag.Flag<readonly string[] | undefined> = Flag.String("san").pipe(
  Flag.withMetavar("NAME"),
  Flag.withDescription(
    "Alternative name: DNS:x, IP:1.2.3.4 or URI:spiffe://DOMAIN/ROLE/NAME; may be repeated (default, unless a DNS name " +
      "or an address is given: IP:0.0.0.0 and the common name).",
  ),
  Flag.atLeast(0),
  Flag.map((given) => given.length === 0 ? undefined : splitNames(given)),
);

/** Makes the URI name of `--role` and `--domain`. */
export const roleFlags = {
  role: Flag.Literals("role", ["gateway", "scheduler", "worker", "data"]).pipe(
    Flag.withDescription(
      "Role that the certificate grants: adds URI:spiffe://DOMAIN/ROLE/COMMON-NAME (default: none).",
    ),
    Flag.optional,
    Flag.map(Option.getOrUndefined),
  ),
  trustDomain: optionalFlag("domain", "DOMAIN", "Trust domain of --role (default: none; wanted with --role).").pipe(
    Flag.withAlias("trust-domain"),
  ),
};

/** Splits at commas. */
export function splitNames(given: readonly string[]): readonly string[] {
  return given.flatMap((text) => text.split(",")).map((name) => name.trim()).filter((name) => name !== "");
}

/** `--chain`. */
export const chainFlag: Flag.Flag<"leaf" | "leaf-and-issuer"> = Flag.Boolean("chain").pipe(
  Flag.withDescription(
    "Put the CA's certificate behind the leaf, for peers whose bundle holds the root alone (default: the leaf alone).",
  ),
  Flag.withDefault(false),
  Flag.map((chain) => chain ? "leaf-and-issuer" as const : "leaf" as const),
);

/** `--path-length` of an intermediate. */
export const pathLengthFlag: Flag.Flag<number> = Flag.Int("path-length").pipe(
  Flag.withMetavar("N"),
  Flag.withDescription("How many CAs may follow below it (default 0: it signs nodes only)."),
  Flag.withDefault(0),
  Flag.filter((count) => count >= 0 && count <= 7, () => "Expected a whole number from 0 to 7"),
);
