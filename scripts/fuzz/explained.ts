/**
 * The cases that we accept and OpenSSL refuses, with the reason: rows of `explained.json`, each with its own test.
 *
 * A row explains a refusal when OpenSSL prints its message *and* the case matches its description: a message alone could hide
 * another difference.
 *
 * @module
 */
import { Result } from "effect";
import { sameBytes } from "../../pki/bytes.ts";
import { type Certificate, isSelfIssued, parseCertificate } from "../../pki/certificate.ts";
import { parseCrl } from "../../pki/crl.ts";
import rows from "./explained.json" with { type: "json" };
import { type FuzzCase, pathOf } from "./evaluate.ts";

/** One difference that is meant. */
interface Explained {
  readonly id: string;
  /** A requirement of OpenSSL that we do not have, and the reason. */
  readonly rule: string;
  /** Section of the RFC that decides. */
  readonly rfc: string;
  /** The line of OpenSSL's that it explains, as a regular expression. */
  readonly says: string;
}

/** All rows. */
export const explained: readonly Explained[] = rows;

const patterns = explained.map((row) => ({ row, says: new RegExp(row.says) }));

/** Rows that explain every line of OpenSSL; undefined where a line has no row. */
export function explanationOf(given: FuzzCase, output: string): readonly Explained[] | undefined {
  const lines = output.split("\n").filter((line) => /error \d+ at|rror:/.test(line));
  const found = lines.map((line) =>
    patterns.find(({ row, says }) => says.test(line) && isAbout(row.id, given, line))?.row
  );
  return lines.length === 0 || found.includes(undefined) ? undefined : found as readonly Explained[];
}

/** Whether the case matches the description of the row. */
function isAbout(id: string, given: FuzzCase, line: string): boolean {
  const sent = given.chain.flatMap(parsed);
  const all = [...sent, ...given.anchors.flatMap(parsed)];
  const depth = Number(/ at (\d+) depth/.exec(line)?.[1]);
  switch (id) {
    case "subject-key-id-absent":
      return all.some((of) => isCa(of) && of.subjectKeyId === undefined);
    case "authority-key-id-absent":
      return all.some((of) => of.authorityKeyId === undefined);
    case "authority-key-id-hint":
      return all.some((of) => all.some((issuer) => isIssuerInName(of, issuer) && !isHinted(of, issuer)));
    case "ca-key-usage-absent":
      return all.some((of) => isCa(of) && of.keyUsage === undefined);
    case "any-purpose":
      return all.some(({ extendedKeyUsage }) => extendedKeyUsage?.includes("2.5.29.37.0"));
    case "anchor-not-looked-up":
      if (line.startsWith("[CRL path]")) return given.anchors.flatMap(parsed).some((anchor) => !isSelfIssued(anchor));
      return depth > 0 && depth >= (pathOf(given)?.length ?? Infinity) - 1;
    case "self-issued-leaf":
      return sent[0] !== undefined && isSelfIssued(sent[0]);
    case "list-key-id-hint":
      return (given.lists ?? []).some((der) => isListOfOther(der, all));
    default:
      return false;
  }
}

/** Whether a list's key identifier is none of the CAs' of its name. */
function isListOfOther(der: Uint8Array, all: readonly Certificate[]): boolean {
  const list = parseCrl(der);
  if (Result.isFailure(list) || list.success.authorityKeyId === undefined) return false;
  const { issuer, authorityKeyId } = list.success;
  const named = all.filter(({ subject }) => sameBytes(subject.der, issuer.der));
  return named.length > 0 && !named.some(({ subjectKeyId }) => subjectKeyId === authorityKeyId);
}

function parsed(der: Uint8Array): readonly Certificate[] {
  const outcome = parseCertificate(der);
  return Result.isSuccess(outcome) ? [outcome.success] : [];
}

const isCa = ({ basicConstraints }: Certificate) => basicConstraints?.ca === true;

function isIssuerInName(of: Certificate, issuer: Certificate): boolean {
  return isCa(issuer) && sameBytes(of.issuer.der, issuer.subject.der);
}

/** Whether the authority key identifier, as far as there is one, is about this issuer. */
function isHinted(of: Certificate, issuer: Certificate): boolean {
  if (of.authorityNamesIssuer && !isSelfIssued(of)) return false;
  return of.authorityKeyId === undefined || of.authorityKeyId === issuer.subjectKeyId;
}
