/**
 * Cases in x509-limbo's format, made here: for families of the suite of which its shared part has no case, or one only.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPublicKey } from "node:crypto";
import { isIP } from "node:net";
import { constructed, primitive, sequence } from "../../pki/issue/der_writer.ts";
import {
  authorityKeyId,
  extendedKeyUsage,
  type Extension,
  keyIdOf,
  nameConstraints,
  subjectKeyId,
  type Subtree,
} from "../../pki/issue/extensions.ts";
import { addressOctets } from "../../pki/issue/general_name.ts";
import { formatPem } from "../../pki/pem.ts";
import type { LimboCase, LimboName } from "../../scripts/limbo/suite.ts";
import {
  at,
  encodeCommonName,
  forge,
  type Forged,
  forgeList,
  type ForgeListOptions,
  type ForgeOptions,
} from "./forge.ts";

export const purposes = {
  any: "2.5.29.37.0",
  server: "1.3.6.1.5.5.7.3.1",
  client: "1.3.6.1.5.5.7.3.2",
  code: "1.3.6.1.5.5.7.3.3",
  mail: "1.3.6.1.5.5.7.3.4",
} as const;

const oids = { alternativeNames: "2.5.29.17", points: "2.5.29.31", scope: "2.5.29.28" };

/** An extension of any content. */
export const extension = (oid: string, critical: boolean, value: Uint8Array): Extension => ({ oid, critical, value });

const keyIdentifier = ({ key }: Pick<Forged, "key">) =>
  keyIdOf(new Uint8Array(createPublicKey(key).export({ format: "der", type: "spki" })));

/** What `forge` makes, with the key identifiers that RFC 5280 asks for; `add` takes their place. */
function proper(name: string, options: ForgeOptions): Forged {
  const self = options.keyOf ?? forge(name, options.algorithm === undefined ? {} : { algorithm: options.algorithm });
  const ids = [subjectKeyId(keyIdentifier(self)), authorityKeyId(keyIdentifier(options.issuer ?? self))];
  const replaced = [...(options.add ?? []).map(({ oid }) => oid), ...(options.omit ?? [])];
  const add = [...ids.filter(({ oid }) => !replaced.includes(oid)), ...(options.add ?? [])];
  return forge(name, { ...options, keyOf: self, add });
}

/** A root. */
export const root = (options: ForgeOptions = {}, name = "root"): Forged => proper(name, { ca: true, ...options });

/** A CA below another. */
export const authority = (issuer: Forged, options: ForgeOptions = {}, name = "intermediate"): Forged =>
  proper(name, { ca: true, issuer, ...options });

/** A server's certificate for `example.com`. */
export function server(issuer: Forged, options: ForgeOptions = {}, name = "example.com"): Forged {
  const add = options.add ?? [];
  const usual = [extendedKeyUsage([purposes.server])];
  const without = usual.filter(({ oid }) => !add.some((other) => other.oid === oid));
  return proper(name, { san: ["DNS:example.com"], ...options, issuer, add: [...without, ...add] });
}

/** A user's, with mailboxes. */
export const user = (issuer: Forged, mailboxes: readonly string[], purpose: string = purposes.client): Forged =>
  server(issuer, { san: mailboxes.map((mailbox) => `email:${mailbox}`), add: [extendedKeyUsage([purpose])] }, "user");

/** Alternative names of any octets under the tag of their kind. */
export const rawNames = (critical: boolean, ...names: readonly (readonly [tag: number, content: string])[]) =>
  extension(
    oids.alternativeNames,
    critical,
    sequence(...names.map(([tag, text]) => primitive(tag, Buffer.from(text)))),
  );

/** `DNS:x`, `URI:x`, `email:x`, `IP:1.2.3.0/24` or `CN:x` as a subtree. */
export function subtree(text: string): Subtree {
  const colon = text.indexOf(":");
  const value = text.slice(colon + 1);
  const tag = { DNS: 2, URI: 6, email: 1, IP: 7, CN: 4 }[text.slice(0, colon)] as Subtree["tag"];
  if (tag === 4) return { tag, content: encodeCommonName(value) };
  if (tag !== 7) return { tag, content: Buffer.from(value) };
  const [address, prefix] = value.split("/") as [string, string?];
  const octets = addressOctets(address);
  if (prefix === undefined) return { tag, content: octets };
  const mask = octets.map((_, index) => 0xff & (0xff00 >> Math.min(8, Math.max(0, Number(prefix) - index * 8))));
  return { tag, content: Buffer.concat([octets, mask]) };
}

/** Name constraints from the texts of their subtrees. */
export const constraints = (permitted: readonly string[], excluded: readonly string[] = []): Extension =>
  nameConstraints(permitted.map(subtree), excluded.map(subtree));

const fullName = (uris: readonly Uint8Array[]) => constructed(0, constructed(0, ...uris));
/** A URI's GeneralName. */
export const uri = (text: string): Uint8Array => primitive(6, Buffer.from(text));
/** A host's GeneralName. */
export const host = (text: string): Uint8Array => primitive(2, Buffer.from(text));
/** CRL distribution points: one, of several names. */
export const points = (...names: readonly Uint8Array[]): Extension =>
  extension(oids.points, false, sequence(sequence(fullName(names))));
/** An issuing distribution point of these fields. */
export const scope = (...fields: readonly Uint8Array[]): Extension => extension(oids.scope, true, sequence(...fields));
/** Its field for names. */
export const scopeNames = (...names: readonly Uint8Array[]): Uint8Array => fullName(names);
/** One of its flags. */
export const flag = (number: number): Uint8Array => primitive(number, Uint8Array.of(0xff));

/** A list with its issuer's key identifier, and number 1. */
export const list = (issuer: Forged, options: ForgeListOptions = {}): Uint8Array =>
  forgeList(issuer, { ...options, add: [authorityKeyId(keyIdentifier(issuer)), ...(options.add ?? [])] });

/** What of a case differs from the usual. */
export interface CaseOptions {
  /** What is sent beside the leaf. */
  readonly others?: readonly Forged[];
  readonly lists?: readonly Uint8Array[];
  /** Name looked for; `example.com` where undefined. */
  readonly name?: string;
  readonly at?: Date;
  readonly depth?: number;
}

/** One case: the verdict that the suite wants, and the code of ours where we refuse. */
export interface OwnCase {
  readonly given: LimboCase;
  readonly code: string | null;
}

/** A case of a server. The code is `null` where it is to be accepted; `suite` says what the suite wants where that differs. */
export function serverCase(
  id: string,
  chain: readonly [leaf: Forged, ...anchors: Forged[]],
  code: string | null,
  options: CaseOptions & { readonly suite?: "SUCCESS" } = {},
): OwnCase {
  const { name = "example.com", suite } = options;
  const kind = isIP(name) === 0 ? "DNS" : "IP";
  const common = caseOf(id, chain, suite ?? (code === null ? "SUCCESS" : "FAILURE"), options);
  return { given: { ...common, validation_kind: "SERVER", expected_peer_name: { kind, value: name } }, code };
}

/** A case of a user, who is looked for by mailboxes. */
export function userCase(
  id: string,
  chain: readonly [leaf: Forged, ...anchors: Forged[]],
  code: string | null,
  options: CaseOptions & { readonly suite?: "SUCCESS"; readonly mailboxes: readonly string[]; readonly use?: string },
): OwnCase {
  const { mailboxes, suite, use = "clientAuth" } = options;
  const names = mailboxes.map((value): LimboName => ({ kind: "RFC822", value }));
  const common = caseOf(id, chain, suite ?? (code === null ? "SUCCESS" : "FAILURE"), options);
  return { given: { ...common, extended_key_usage: [use], expected_peer_names: names }, code };
}

function caseOf(
  id: string,
  [leaf, ...anchors]: readonly [Forged, ...Forged[]],
  expected: "SUCCESS" | "FAILURE",
  options: CaseOptions,
): LimboCase {
  return {
    id: `own::${id}`,
    features: [],
    validation_kind: "CLIENT",
    trusted_certs: anchors.map(({ pem }) => pem),
    untrusted_intermediates: (options.others ?? []).map(({ pem }) => pem),
    peer_certificate: leaf.pem,
    validation_time: (options.at ?? at).toISOString(),
    signature_algorithms: [],
    key_usage: [],
    extended_key_usage: [],
    expected_result: expected,
    expected_peer_name: null,
    expected_peer_names: [],
    max_chain_depth: options.depth ?? null,
    crls: (options.lists ?? []).map((der) => formatPem("X509 CRL", der)),
  };
}
