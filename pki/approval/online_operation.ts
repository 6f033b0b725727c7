/**
 * Operations of `hypha-ca` that wait for approvals, as requests hold them.
 *
 * @module
 */
import type { CanonicalFields } from "../canonical_json.ts";
import type { Certificate } from "../certificate.ts";
import { type RevocationReason, revocationReasons } from "../issue/issue_crl.ts";
import { hasExactly, isDigest, isFields, type LineFields, readBase64, toBase64 } from "./canonical_line.ts";
import { readLeafTbs, roleIn } from "./leaf_tbs.ts";

/** Certificates of one `revoke-many`. */
export const revokedAtOnceMax = 500;
/** CAs that a `rotate-ca` names beside the one that issues: next, and retired. */
export const rotatedCasMax = 8;

/** Roles whose enrolments can wait for approvals. */
export type ApprovedRole = "data" | "gateway" | "scheduler" | "worker";

/** The certificate of a node, or of the identity in hardware that a node of this role has. */
export interface IssueRole {
  readonly name: `issue-role:${ApprovedRole}`;
  /** The bytes that the CA signs. */
  readonly tbs: Uint8Array;
  /** Id of the token that the node enrols with. */
  readonly token: string;
  /** The token replaces what its name has: it ends the name's lock, and what the name had before is not renewed. Absent of other tokens. */
  readonly replaces?: true | undefined;
}

/** Revocations. */
export interface RevokeMany {
  readonly name: "revoke-many";
  /** Each of them, those that renew it by then, and of an identity in hardware those for TLS that it got. `issuer` is the SHA-256 of the issuing CA's key, serials are plain. */
  readonly certificates: readonly RevokedCertificate[];
  /** Identities that are revoked as a whole: what they got after the request is revoked too, and their unused tokens are void. */
  readonly identities: readonly string[];
  readonly reason: RevocationReason;
}

/** A certificate to revoke. */
export interface RevokedCertificate {
  readonly identity: string;
  readonly issuer: string;
  readonly serial: string;
}

/** The CAs of a configuration after a step of a rotation, each by the SHA-256 of its key. */
export interface RotateCa {
  readonly name: "rotate-ca";
  readonly issues: string;
  readonly next: readonly string[];
  readonly retired: readonly string[];
}

/** An operation as it is composed. */
export type OnlineParts = IssueRole | RevokeMany | RotateCa;
/** The same as it is read. */
export type OnlineOperation =
  /** `certificate` is what `tbs` is, without a signature. */
  | IssueRole & { readonly certificate: Certificate }
  | RevokeMany
  | RotateCa;

/** Whether an operation is one of `hypha-ca` alone. */
export function isOnline<A extends { readonly name: string }>(operation: A): operation is Extract<A, OnlineParts> {
  return operation.name.startsWith("issue-role:") || operation.name === "revoke-many" || operation.name === "rotate-ca";
}

/** The parameters of a request. */
export function onlineParametersOf(operation: OnlineParts): CanonicalFields {
  switch (operation.name) {
    case "revoke-many": {
      const { certificates, identities, reason } = operation;
      const listed = certificates.map(({ identity, issuer, serial }) => ({ identity, issuer, serial }));
      return { certificates: listed, identities, reason };
    }
    case "rotate-ca": {
      const { issues, next, retired } = operation;
      return { issues, next, retired };
    }
    default:
      return {
        ...(operation.replaces === true ? { replaces: true } : {}),
        tbs: toBase64(operation.tbs),
        token: operation.token,
      };
  }
}

interface OnlineReader {
  readonly names: readonly string[];
  /** Names that may be there too. */
  readonly optional?: readonly string[];
  readonly from: (parameters: LineFields) => OnlineOperation | string;
}

const roleReader = (role: ApprovedRole): OnlineReader => ({
  names: ["tbs", "token"],
  optional: ["replaces"],
  from: ({ tbs: text, token, replaces }) => {
    const tbs = readBase64(text);
    if (tbs === undefined) return "its certificate is not base64";
    if (replaces !== undefined && replaces !== true) return "its replaces is not true";
    if (typeof token !== "string" || !/^[0-9a-f]{16}$/.test(token)) return "its token has no usual id";
    const certificate = readLeafTbs(tbs);
    if (typeof certificate === "string") return certificate;
    // An identity in hardware gets its certificates for TLS in the role that the operation names.
    if (![role, "identity"].includes(roleIn(certificate) ?? "")) return `its certificate is not one of role ${role}`;
    return { name: `issue-role:${role}`, tbs, token, ...(replaces === true ? { replaces } : {}), certificate };
  },
});

/** How each is read. */
export const onlineReaders: Readonly<Record<OnlineParts["name"], OnlineReader>> = {
  "issue-role:data": roleReader("data"),
  "issue-role:gateway": roleReader("gateway"),
  "issue-role:scheduler": roleReader("scheduler"),
  "issue-role:worker": roleReader("worker"),
  "revoke-many": { names: ["certificates", "identities", "reason"], from: readRevocations },
  "rotate-ca": { names: ["issues", "next", "retired"], from: readRotation },
};

const isText = (value: unknown): value is string => typeof value === "string" && value !== "" && value.length <= 1_024;

function readRevocations({ certificates, identities, reason }: LineFields): RevokeMany | string {
  if (!isListOf(certificates, revokedAtOnceMax, isRevoked) || certificates.length === 0) {
    return `it does not list 1 to ${revokedAtOnceMax} certificates with identity, issuer and serial`;
  }
  if (!isListOf(identities, revokedAtOnceMax, isText)) return `it does not list up to ${revokedAtOnceMax} identities`;
  if (!isReason(reason)) return "its reason is not known";
  return { name: "revoke-many", certificates, identities, reason };
}

function isRevoked(value: unknown): value is RevokedCertificate {
  return isFields(value) && hasExactly(value, ["identity", "issuer", "serial"]) && isText(value["identity"]) &&
    isDigest(value["issuer"]) && typeof value["serial"] === "string" &&
    /^[1-9a-f][0-9a-f]{0,39}$/.test(value["serial"]);
}

function readRotation({ issues, next, retired }: LineFields): RotateCa | string {
  const areCas = isDigest(issues) && isListOf(next, rotatedCasMax, isDigest) &&
    isListOf(retired, rotatedCasMax, isDigest);
  return areCas ? { name: "rotate-ca", issues, next, retired } : "its CAs are not hashes of 32 octets";
}

function isListOf<A>(value: unknown, most: number, is: (each: unknown) => each is A): value is readonly A[] {
  return Array.isArray(value) && value.length <= most && value.every(is);
}

/** Whether a text is a reason of a revocation. */
export function isReason(reason: unknown): reason is RevocationReason {
  return typeof reason === "string" && Object.hasOwn(revocationReasons, reason);
}
