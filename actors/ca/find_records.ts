/**
 * The files of a CA in a folder of `hypha-certutil`: certificate, key, issuer, records, the root's list.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Data, Result } from "effect";
import { sameBytes } from "../../pki/bytes.ts";
import { type Certificate, parseCertificate } from "../../pki/certificate.ts";
import { parseCrl, type RevocationList } from "../../pki/crl.ts";
import { formatPem, parsePem } from "../../pki/pem.ts";
import { verifySignature } from "../../pki/signature.ts";
import type { CaRecords } from "./import_records.ts";

/** Files that are looked at in a folder. */
export const recordFilesMax = 1_000;
/** Bytes of a file that is looked at; records of issued certificates may be larger. */
const pemBytesMax = 4 * 1024 * 1024;

/** A CA of `hypha-certutil`. */
export interface FoundCa {
  /** PEM of the CA that signs, with its root behind it. */
  readonly chainPem: string;
  /** PKCS#8, PEM. */
  readonly keyPem: string;
  readonly root: Certificate;
  readonly records: CaRecords;
  /** The root's newest complete list; undefined where the folder has none. */
  readonly rootList: FoundList | undefined;
}

/** A revocation list and its DER. */
export interface FoundList {
  readonly list: RevocationList;
  readonly der: Uint8Array;
}

/** The folder does not have the files of one CA. */
export class RecordsNotFound
  extends Data.TaggedError("RecordsNotFound")<{ readonly folder: string; readonly detail: string }> {
  override get message(): string {
    return `Cannot take over CA in ${this.folder}: ${this.detail}`;
  }
}

interface Seen {
  readonly file: string;
  readonly label: string;
  readonly der: Uint8Array;
}

/**
 * Finds the CA that has a record of revocations (`X.revoked.tsv` beside its certificate `X`), is not a root, and whose key is there.
 * There must be exactly one.
 */
export function findRecords(folder: string): Result.Result<FoundCa, RecordsNotFound> {
  const fail = (detail: string) => Result.fail(new RecordsNotFound({ folder, detail }));
  return Result.gen(function* () {
    const seen = yield* Result.try({
      try: () => blocksIn(folder),
      catch: (error) => new RecordsNotFound({ folder, detail: (error as Error).message }),
    });
    const certificates = seen.filter(({ label }) => label === "CERTIFICATE").flatMap(({ file, der }) => {
      const read = parseCertificate(Uint8Array.from(der));
      return Result.isSuccess(read) && read.success.basicConstraints?.ca === true
        ? [{ file, certificate: read.success }]
        : [];
    });
    const found = certificates.flatMap(({ file, certificate }) => {
      const root = certificates.find(({ certificate: other }) => isRootOf(other, certificate))?.certificate;
      const key = seen.find(({ label, der }) => label === "PRIVATE KEY" && isKeyOf(der, certificate));
      const revoked = readIfThere(`${file}.revoked.tsv`);
      return root === undefined || key === undefined || revoked === undefined
        ? []
        : [{ file, certificate, root, key, revoked }];
    });
    const [own, second] = found;
    if (own === undefined) return yield* fail("no CA below a root has its key and its record of revocations there");
    if (second !== undefined) return yield* fail(`two CAs are there, ${own.file} and ${second.file}`);
    const issued = readIfThere(`${own.file}.issued.tsv`);
    return {
      chainPem: [own.certificate, own.root].map(({ der }) => formatPem("CERTIFICATE", der)).join(""),
      keyPem: formatPem("PRIVATE KEY", own.key.der),
      root: own.root,
      records: { revoked: own.revoked, issued },
      rootList: newestListOf(seen, own.root),
    };
  });
}

/** Every PEM block of the folder's files. */
function blocksIn(folder: string): readonly Seen[] {
  const names = readdirSync(folder).filter((name) => !name.endsWith(".tsv"));
  if (names.length > recordFilesMax) throw new Error(`it has more than ${recordFilesMax} files`);
  return names.map((name) => join(folder, name)).flatMap((file) => {
    const status = statSync(file);
    if (!status.isFile() || status.size > pemBytesMax) return [];
    const blocks = parsePem(readFileSync(file, "utf8"));
    return Result.isSuccess(blocks)
      ? blocks.success.map(({ label, der }) => ({ file, label, der: Uint8Array.from(der) }))
      : [];
  });
}

function isRootOf(root: Certificate, certificate: Certificate): boolean {
  const isSigned = ({ issuer, tbs: data, signatureAlgorithm: algorithm, signature }: Certificate) =>
    sameBytes(issuer.der, root.subject.der) && verifySignature({ data, algorithm, signature }, root.publicKey);
  return root.fingerprint !== certificate.fingerprint && isSigned(root) && isSigned(certificate);
}

function isKeyOf(der: Uint8Array, { publicKey }: Certificate): boolean {
  try {
    const key = createPrivateKey({ key: Buffer.from(der), format: "der", type: "pkcs8" });
    return sameBytes(createPublicKey(key).export({ type: "spki", format: "der" }), publicKey.spki);
  } catch {
    return false;
  }
}

function readIfThere(file: string): { readonly file: string; readonly text: string } | undefined {
  return statSync(file, { throwIfNoEntry: false }) === undefined
    ? undefined
    : { file, text: readFileSync(file, "utf8") };
}

function newestListOf(seen: readonly Seen[], root: Certificate): FoundList | undefined {
  const lists = seen.filter(({ label }) => label === "X509 CRL").flatMap(({ der }) => {
    const read = parseCrl(der);
    if (Result.isFailure(read) || read.success.baseNumber !== undefined || !isOf(read.success, root)) return [];
    return [{ list: read.success, der }];
  });
  const numberOf = ({ list }: FoundList) => BigInt(list.number ?? 0);
  return lists.reduce<FoundList | undefined>(
    (newest, each) => newest === undefined || numberOf(each) > numberOf(newest) ? each : newest,
    undefined,
  );
}

function isOf(
  { issuer, tbs: data, signatureAlgorithm: algorithm, signature }: RevocationList,
  root: Certificate,
): boolean {
  return sameBytes(issuer.der, root.subject.der) && verifySignature({ data, algorithm, signature }, root.publicKey);
}
