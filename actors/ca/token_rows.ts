/**
 * Tokens in the register: made by the operator, kept as the hash of their secret.
 *
 * @module
 */
import { isIP } from "node:net";
import { Effect, Result } from "effect";
import { sameBytes } from "../../pki/bytes.ts";
import type { Role } from "../../pki/certificate.ts";
import { addressOctets, type GeneralName } from "../../pki/issue/general_name.ts";
import { alternativeNames } from "../../pki/issue/issue_node.ts";
import { IssueError } from "../../pki/issue/mod.ts";
import { encodeName } from "../../pki/issue/name.ts";
import { namesOf } from "../certutil/node_names.ts";
import { CaRefused } from "./ca_refused.ts";
import type { CertificateAuthority } from "./certificate_authority.ts";
import { liveCertificateOf, lockOf, nameOf, roleOf } from "./certificate_rows.ts";
import { boundTo, hardwareIdentity, identityPart, isHardwareIdentity } from "./hardware_rows.ts";
import type { RegisterRows } from "./register.ts";
import type { RegisterFailure } from "./register_failure.ts";
import { formatToken, makeToken, secretHash } from "./token.ts";

/** How long a token can be valid, in milliseconds. */
export const tokenLifetimeMaxMs = 24 * 60 * 60_000;
/** How long a token is valid where the operator says nothing, in milliseconds. */
export const tokenLifetimeMs = 60 * 60_000;

/** Roles that a token can give. Never `ca`: its certificates come from `init` or the root's key alone. */
const nodeRoles: readonly Role[] = ["gateway", "scheduler", "worker", "data"];

/** Whom a token is for. */
export interface TokenRequest {
  readonly role: Role;
  /** Common name, and the last part of the SPIFFE ID. */
  readonly name: string;
  /** DNS names and addresses; undefined for the usual ones. */
  readonly san?: readonly string[] | undefined;
  readonly lifetimeMs?: number | undefined;
  /** Whether the name may have a live certificate, or be locked. */
  readonly replaces: "no" | "yes";
  /** Where the key is: of one in hardware the certificate is an identity's, and the node gets short-lived ones for TLS with it. */
  readonly key?: "tls" | "hardware" | undefined;
}

/** A token's row. */
export interface TokenRow {
  readonly id: string;
  readonly secret_hash: string;
  readonly role: Role;
  readonly name: string;
  /** JSON: alternative names of the certificate as operators write them. */
  readonly sans: string;
  /** The certificate's SPIFFE ID. Of an identity in hardware it does not name the role. */
  readonly identity: string;
  readonly replaces: number;
  readonly expires: number;
  readonly void: number;
  /** SHA-256 of the SPKI that it was used for. */
  readonly used_key: string | null;
  readonly used_address: string | null;
}

/** A token that was made. The text is nowhere else: the register has a hash of its secret. */
export interface MadeToken {
  readonly text: string;
  readonly identity: string;
  readonly expires: Date;
  /** Earlier tokens that it made void and that could still have brought a certificate. */
  readonly voided: number;
}

/** Makes a token and enters it. One that replaces makes the earlier ones of its name void that brought no certificate. */
export function createToken(
  ca: CertificateAuthority,
  request: TokenRequest,
  at: Date,
): Effect.Effect<MadeToken, CaRefused | RegisterFailure> {
  return ca.inTurn(Effect.suspend(() =>
    Effect.fromResult(Result.gen(function* () {
      const { sans, identity } = yield* namesFor(ca, request);
      const lifetime = request.lifetimeMs ?? tokenLifetimeMs;
      if (!(lifetime > 0 && lifetime <= tokenLifetimeMaxMs)) {
        return yield* notAllowed("a token is valid for at most 24 hours");
      }
      const token = makeToken({ anchor: ca.anchorId, url: ca.url });
      const expires = new Date(+at + lifetime);
      const { role, name, replaces } = request;
      const voided = yield* ca.register.transaction<number, CaRefused>((rows) => {
        const taken = replaces === "yes" ? undefined : refuseTaken(rows, { identity, role }, at);
        if (taken !== undefined) return Result.fail(taken);
        const voided = replaces === "yes" ? voidEarlier(rows, ca.domain, { identity, role }, at) : 0;
        rows.change(
          "INSERT INTO tokens (id, secret_hash, role, name, sans, identity, replaces, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
          ...[token.id, secretHash(token.secret), role, name, JSON.stringify(sans), identity],
          Number(replaces === "yes"),
          +expires,
        );
        rows.record({
          type: "token.made",
          outcome: "done",
          peer: identity,
          detail: { token: token.id, replaces, expires, ...(voided === 0 ? {} : { voided }) },
        });
        return Result.succeed(voided);
      });
      return { text: formatToken(token), identity, expires, voided };
    }))
  ));
}

/** A name with a live certificate, or a locked one, is given again only by an operator who says so. */
export function refuseTaken(
  rows: RegisterRows,
  token: Pick<TokenRow, "identity" | "role">,
  at: Date,
): CaRefused | undefined {
  for (const identity of identitiesOfToken(rows, token)) {
    const lock = lockOf(rows, identity);
    if (lock !== undefined) return new CaRefused({ code: "name-locked", detail: `${identity} is locked: ${lock}` });
    const live = liveCertificateOf(rows, identity, at);
    if (live === undefined) continue;
    const detail = `${identity} has a certificate until ${new Date(live.not_after).toISOString()}`;
    return new CaRefused({ code: "name-taken", detail });
  }
  return undefined;
}

/** The SPIFFE IDs that a token gives, now or for an identity's signature, and that it ends where it replaces what was there. */
export function identitiesOfToken(
  rows: RegisterRows,
  { identity, role }: Pick<TokenRow, "identity" | "role">,
): readonly string[] {
  if (isHardwareIdentity(identity)) return [identity, identity.replace(`/${identityPart}/`, `/${role}/`)];
  const hardware = boundTo(rows, identity);
  return hardware === undefined ? [identity] : [identity, hardware];
}

/** Ends the locks of what a token gives. */
export function unlock(rows: RegisterRows, row: TokenRow): void {
  for (const identity of identitiesOfToken(rows, row)) {
    rows.change("DELETE FROM locked_identities WHERE identity = ?", identity);
  }
}

/** The row of a token. */
export function tokenOf(rows: RegisterRows, id: string): TokenRow | undefined {
  return rows.first("SELECT * FROM tokens WHERE id = ?", id);
}

/** Tokens that give an identity: its own, and those of an identity in hardware in its role. */
const givingTokens = `(identity = ? OR (identity = ? AND role = ?)) AND void = 0
AND NOT EXISTS (SELECT 1 FROM certificates c WHERE c.token = tokens.id)`;
const givingValues = (domain: string, identity: string) => [
  identity,
  hardwareIdentity(domain, nameOf(identity)),
  roleOf(identity, domain) ?? null,
];

/** Makes the unused tokens of an identity void; returns how many of them had not expired. */
export function voidTokens(rows: RegisterRows, domain: string, identity: string, at: Date): number {
  const values = givingValues(domain, identity);
  const sql = `SELECT count(*) AS live FROM tokens WHERE ${givingTokens} AND expires > ?`;
  const { live } = rows.first<{ readonly live: number }>(sql, ...values, +at)!;
  rows.change(`UPDATE tokens SET void = 1 WHERE ${givingTokens}`, ...values);
  return live;
}

/** Makes the tokens void that one that replaces supersedes; returns how many of them had not expired. */
function voidEarlier(
  rows: RegisterRows,
  domain: string,
  { identity, role }: Pick<TokenRow, "identity" | "role">,
  at: Date,
): number {
  const given = isHardwareIdentity(identity) ? identitiesOfToken(rows, { identity, role }) : [identity];
  return given.reduce((count, each) => count + voidTokens(rows, domain, each, at), 0);
}

/** The identities that have unused tokens, by the whole SPIFFE ID or by its last part: then those of nodes. */
export function identitiesWithTokens(
  { domain }: CertificateAuthority,
  rows: RegisterRows,
  name: string,
  at: Date,
): readonly string[] {
  const nodes = nodeRoles.map((role) => `spiffe://${domain}/${role}/${nameOf(name)}`);
  const all = [...nodes, hardwareIdentity(domain, nameOf(name))];
  const named = all.includes(name) ? [name] : name === nameOf(name) ? nodes : [];
  const sql = `SELECT 1 FROM tokens WHERE ${givingTokens} AND expires > ? LIMIT 1`;
  return named.filter((each) => rows.first(sql, ...givingValues(domain, each), +at) !== undefined);
}

const notAllowed = (detail: string) => Result.fail(new CaRefused({ code: "name-not-allowed", detail }));

/** Every name of the certificate. A name of the CA's URL would let a node stand in for the CA. */
function namesFor(ca: CertificateAuthority, { role, name, san, key = "tls" }: TokenRequest) {
  return Result.gen(function* () {
    if (!nodeRoles.includes(role)) return yield* notAllowed(`${role} is no role of a node`);
    if (/^\.+$/.test(name)) return yield* notAllowed(`${name} is no name`);
    const wanted = { commonName: name, san, role, trustDomain: ca.domain };
    const named = yield* Result.mapError(namesOf(wanted), ({ detail }) => refused(detail));
    const names = yield* Result.try({
      try: () => (encodeName({ commonName: name }), alternativeNames(name, named.san)),
      catch: (error) => refused(error instanceof IssueError ? error.detail : String(error)),
    });
    if (names.filter(({ type }) => type === "uri").length !== 1) {
      return yield* notAllowed("a token has one URI, its own");
    }
    const host = new URL(ca.url).hostname.replace(/^\[|\]$/g, "").toLowerCase();
    if (names.some((each) => covers(each, host))) {
      return yield* notAllowed(`${host} is the CA's own name`);
    }
    const own = `spiffe://${ca.domain}/${role}/${name}`;
    if (key === "tls") return { sans: named.san ?? [], identity: own };
    const identity = hardwareIdentity(ca.domain, name);
    const sans = (named.san ?? []).map((each) => each === `URI:${own}` ? `URI:${identity}` : each);
    return { sans, identity };
  });
}

const refused = (detail: string) => new CaRefused({ code: "name-not-allowed", detail });

/** Whether a name in a certificate names a host: the same DNS name, a `*.` over it, or the same address. */
function covers({ type, value }: GeneralName, host: string): boolean {
  if (type === "ip") return isIP(host) !== 0 && sameBytes(addressOctets(value), addressOctets(host));
  const name = value.toLowerCase();
  return type === "dns" &&
    (name === host || (name.startsWith("*.") && host.slice(host.indexOf(".")) === name.slice(1)));
}
