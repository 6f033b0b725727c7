/**
 * Names of nodes' certificates, and what a certificate's file holds.
 *
 * @module
 */
import { Result } from "effect";
import type { Role } from "../../pki/certificate.ts";
import { isDnsName } from "../../pki/issue/mod.ts";
import { checkIdentity, checkWellFormed } from "../../pki/path.ts";
import type { Authority } from "./authority.ts";
import { CertutilError } from "./certutil_error.ts";

/**
 * The content of a node's certificate file: the leaf alone, or followed by its issuer's certificates, which peers
 * need that anchor the root only.
 */
export type ChainFile = "leaf" | "leaf-and-issuer";

/** Which names a node is to have. */
export interface NodeNames {
  /** Alternative names; undefined for the usual ones. */
  readonly san: readonly string[] | undefined;
  /** The role that the certificate grants, in which trust domain: one URI name more. */
  readonly role?: Role | undefined;
  readonly trustDomain?: string | undefined;
}

/** A name as `--san` takes it. */
export function nameText({ type, value }: { readonly type: string; readonly value: string }): string {
  return `${["dns", "ip", "uri"].includes(type) ? type.toUpperCase() : type}:${value}`;
}

/** The names as `issueNode` takes them: none given means the usual ones, which a role comes on top of. */
export function namesOf(
  { san, role, trustDomain, commonName }: NodeNames & { readonly commonName: string },
): Result.Result<{ readonly san?: readonly string[] }, CertutilError> {
  if (role === undefined && trustDomain === undefined) return Result.succeed(san === undefined ? {} : { san });
  const given = role !== undefined && trustDomain !== undefined;
  if (given && isDnsName(trustDomain) && /^[\w.-]+$/.test(commonName)) {
    return Result.succeed({ san: [...san ?? [], `URI:spiffe://${trustDomain}/${role}/${commonName}`] });
  }
  const detail = given
    ? `spiffe://${trustDomain}/${role}/${commonName} is no name of a node`
    : `--${role === undefined ? "role" : "domain"} is missing`;
  const remedy = given
    ? "Use letters, digits, hyphens and dots, or write the name: --san URI:spiffe://DOMAIN/ROLE/NAME."
    : "Give both, or write the name: --san URI:spiffe://DOMAIN/ROLE/NAME.";
  return Result.fail(new CertutilError({ what: "use --role and --domain", detail, remedy }));
}

/** Nodes refuse a URI name that is no role of theirs, and several of them. */
export function claimWarning(der: Uint8Array): readonly string[] {
  const read = Result.flatMap(checkWellFormed([der]), (wellFormed) => checkIdentity(wellFormed));
  const claim = Result.isSuccess(read) ? read.success.roleClaim : undefined;
  if (claim === undefined) return [];
  return [`no node accepts ${claim}: a role is one URI:spiffe://DOMAIN/gateway|scheduler|worker|data/NAME`];
}

/** The leaf's PEM, with that of its issuer behind it where it is asked for. */
export function withChain(certPem: string, issuer: Authority, chain: ChainFile): string {
  return chain === "leaf" ? certPem : certPem + issuer.certPem;
}
