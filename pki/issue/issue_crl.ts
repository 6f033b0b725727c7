/**
 * Revocation lists (CRL v2, RFC 5280 §5).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { type IssuerFiles, serialOctets } from "./certificate_template.ts";
import { bitString, constructed, derValue, enumerated, integer, sequence, time } from "./der_writer.ts";
import {
  authorityKeyId,
  crlNumber,
  deltaIndicator,
  encodeExtensions,
  type Extension,
  extensionOids,
  freshestCrl,
} from "./extensions.ts";
import { IssueError } from "./issue_error.ts";
import { type Issuer, type IssuerCheck, readIssuer } from "./issuer.ts";
import { formatPem } from "../pem.ts";

/** Reasons of RFC 5280 §5.3.1 by name, but for `removeFromCRL`, which belongs to delta lists only. */
export const revocationReasons = {
  unspecified: 0,
  keyCompromise: 1,
  cACompromise: 2,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  certificateHold: 6,
  privilegeWithdrawn: 9,
  aACompromise: 10,
} as const;

/** A reason's name. */
export type RevocationReason = keyof typeof revocationReasons;

/** One entry of a list. */
export interface RevokedEntry {
  /** Hexadecimal, as `Certificate.serial` or `openssl x509 -serial` say it; colons and case don't matter. */
  readonly serial: string;
  /** When the certificate was revoked. */
  readonly date: Date;
  /** Why; `unspecified` where undefined. */
  readonly reason?: RevocationReason | undefined;
}

/** What a list is made of. */
export interface CrlRequest {
  /** The CA that signs it. */
  readonly issuer: IssuerFiles | Issuer;
  /** The entries, in the order in which they are written. */
  readonly revoked: readonly RevokedEntry[];
  /** Grows with each list of the issuer (RFC 5280 §5.2.3). */
  readonly number: bigint;
  /** When it is issued. */
  readonly thisUpdate: Date;
  /** When the next is due. */
  readonly nextUpdate: Date;
  /**
   * Number of the complete list that this one, a delta, brings up to date; `revoked` is then what that list lacks
   * (RFC 5280 §5.2.4).
   */
  readonly base?: bigint | undefined;
  /** Where this list's delta is published (RFC 5280 §5.2.6); a list without it has no delta. */
  readonly deltaUrl?: string | undefined;
  /** Extensions of the list and of each entry that come on top: tests of odd lists. */
  readonly overrides?: {
    readonly add?: readonly Extension[];
    readonly entryAdd?: readonly Extension[];
    readonly omit?: readonly ("authorityKeyId" | "crlNumber")[];
  };
  /** `unchecked` lets something sign that is no CA. */
  readonly issuerCheck?: IssuerCheck;
}

/**
 * Makes a revocation list, in time linear in its entries. `mod.ts` explains why the library does not write it.
 *
 * @returns PEM, labelled `X509 CRL`.
 * @throws {IssueError} When the issuer, a serial or the dates are not usable.
 */
export async function issueCrl(request: CrlRequest): Promise<string> {
  return formatPem("X509 CRL", await issueCrlDer(request));
}

/** Makes a revocation list like {@linkcode issueCrl}: its DER. */
export async function issueCrlDer(request: CrlRequest): Promise<Uint8Array> {
  const issuer = readIssuer(request.issuer, request.issuerCheck);
  if (request.nextUpdate.getTime() <= request.thisUpdate.getTime()) {
    throw new IssueError({ problem: "crl", detail: "the list's next update is not after its this update" });
  }
  if (request.base !== undefined && request.base >= request.number) {
    throw new IssueError({ problem: "crl", detail: "the delta's number is not above its base's" });
  }
  const omitted = (request.overrides?.omit ?? []).map((name) => extensionOids[name] as string);
  const extensions = [
    ...[authorityKeyId(issuer.keyId), crlNumber(request.number)].filter(({ oid }) => !omitted.includes(oid)),
    ...(request.base === undefined ? [] : [deltaIndicator(request.base)]),
    ...(request.deltaUrl === undefined ? [] : [freshestCrl(request.deltaUrl)]),
    ...(request.overrides?.add ?? []),
  ];
  const { entryAdd } = request.overrides ?? {};
  const entries = request.revoked.map((entry) =>
    entryAdd === undefined ? encodedEntry(entry) : encodeEntry(entry, entryAdd)
  );
  const tbs = sequence(
    integer(1),
    issuer.key.signatureAlgorithm,
    issuer.certificate.subject.der,
    time(request.thisUpdate),
    time(request.nextUpdate),
    ...(entries.length === 0 ? [] : [derValue(0x30, entries)]),
    ...(extensions.length === 0 ? [] : [constructed(0, encodeExtensions(extensions))]),
  );
  return sequence(tbs, issuer.key.signatureAlgorithm, bitString(await issuer.key.sign(tbs)));
}

/** Entries of earlier lists: a CA lists the same ones in each. */
const encoded = new WeakMap<RevokedEntry, Uint8Array>();

function encodedEntry(entry: RevokedEntry): Uint8Array {
  const known = encoded.get(entry) ?? encodeEntry(entry, []);
  encoded.set(entry, known);
  return known;
}

/** An entry without a reason means `unspecified`, which DER leaves out (RFC 5280 §5.3.1). */
function encodeEntry({ serial, date, reason }: RevokedEntry, added: readonly Extension[]): Uint8Array {
  const code = revocationReasons[reason ?? "unspecified"];
  const extensions = [
    ...(code === 0 ? [] : [{ oid: extensionOids.reasonCode, critical: false, value: enumerated(code) }]),
    ...added,
  ];
  return sequence(
    integer(serialOctetsOf(serial)),
    time(date),
    ...(extensions.length === 0 ? [] : [encodeExtensions(extensions)]),
  );
}

function serialOctetsOf(serial: string): Uint8Array {
  const digits = serial.replaceAll(":", "").replace(/^0+/, "");
  const octets = Buffer.from(digits.length % 2 === 0 ? digits : `0${digits}`, "hex");
  const length = octets.length + ((octets[0] ?? 0) >= 0x80 ? 1 : 0);
  if (!/^[0-9a-f]+$/i.test(digits) || length > serialOctets) {
    const detail = `serial ${JSON.stringify(serial)} is not a positive hexadecimal number of ${serialOctets} octets`;
    throw new IssueError({ problem: "serial", detail });
  }
  return octets;
}
