/**
 * The schema of `[membership]`: how a node renews its certificate by itself, and where it fetches revocation lists.
 *
 * @module
 */
import { Schema } from "effect";
import { durationMs, readDuration } from "./duration.ts";
import { readKeyUri } from "./key_uri.ts";
import { flag, note, oneOf, optional, path, readable } from "./notes.ts";
import type { BrokenRule } from "./rules.ts";
import { tomlOf } from "./settings.ts";

/** CAs, or places of lists, in one configuration. */
export const originsMax = 16;
/** The defaults of the table's keys. The table itself has no default: without it a node renews nothing. */
export const membershipDefault = { renew: true, key: "same", crls: "optional" } as const;
/** Bounds of `new_key_every`, in milliseconds: certificates live at least an hour and at most 397 days. */
const newKeyEveryMinMs = 3_600_000;
const newKeyEveryMaxMs = 397 * 24 * 3_600_000;

/** `[membership]` as the actors see it. */
export interface MembershipConfig {
  /** Where the CAs of the node's own domain are: `https://HOST[:PORT]`, tried in this order. */
  readonly ca: readonly string[];
  /** Whether the node renews its certificate. */
  readonly renew: boolean;
  /** Whether a renewal keeps the key. */
  readonly key: "same" | "new";
  /** How old a key gets that renewals keep, in milliseconds; as old as the configuration lets it where undefined. */
  readonly newKeyEveryMs: number | undefined;
  /** URI of the identity's key in a token, where the node's identity is in hardware. */
  readonly identityKey?: string | undefined;
  /** Path of the identity's certificate. */
  readonly identityCertPem?: string | undefined;
  /** Whether certificates of the own domain are refused without a revocation list in force. */
  readonly crls: "required" | "optional";
  /** Where lists are fetched: origins that have `/crl/ISSUER.crl`. */
  readonly crlUrls: readonly string[];
}

/**
 * Reads an origin: scheme, host and port in their one form, nothing behind them.
 *
 * @returns The URL, or a complaint that continues the sentence "the value …".
 */
export function readOrigin(text: string, ...schemes: readonly string[]): URL | string {
  const url = URL.parse(text);
  const begin = schemes.map((scheme) => `${scheme}://`).join(" or ");
  if (url === null || !schemes.includes(url.protocol.slice(0, -1))) return `does not begin with ${begin} and a host`;
  return url.origin === text ? url : `is not in the form ${url.origin}`;
}

const origins = (
  schemes: readonly string[],
  said: { readonly example: string; readonly description: string; readonly standard?: string },
) =>
  note(
    Schema.Array(readable((text) => readOrigin(text, ...schemes), {
      expected: `a URL such as ${said.example.slice(2, -2)}`,
      example: said.example.slice(1, -1),
      description: "",
    })).check(Schema.isMinLength(1), Schema.isMaxLength(originsMax)),
    { expected: `a list of 1 to ${originsMax} URLs, each a scheme, a host and a port`, ...said },
  );

/** `[membership]`. */
export const membership = Schema.Struct({
  ca: origins(["https"], {
    example: '["https://ca.acme.example:8443"]',
    description: "CAs of the node's own trust domain, tried in this order. join writes them.",
  }),
  renew: optional(
    note(flag("true", ""), {
      expected: "true or false",
      example: tomlOf(membershipDefault.renew),
      description: "Whether this node renews its certificate after two thirds of its life.",
      standard: tomlOf(membershipDefault.renew),
    }),
  ),
  key: optional(
    oneOf(["same", "new"], tomlOf(membershipDefault.key), "Whether a renewed certificate keeps the key.", {
      standard: tomlOf(membershipDefault.key),
    }),
  ),
  new_key_every: optional(
    readable(readNewKeyEvery, {
      expected: "a duration from 1h to 397d, such as 30d",
      example: '"30d"',
      description:
        'With key = "same": how old a key gets before a renewal makes a new one, as soon as the role is idle.',
    }),
  ),
  identity_key: optional(
    readable(readKeyUri, {
      expected:
        "the URI of a key in a PKCS#11 token, such as pkcs11:token=acme;object=worker-01?module-path=/PATH/MODULE.so",
      example: tomlOf(
        "pkcs11:token=acme;object=worker-01?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/hypha/pin",
      ),
      description:
        "Key of the node's identity, Ed25519, in a token: certificates for TLS come for its signature (docs/hardware-keys.md).",
      secret: true,
    }),
  ),
  identity_cert_pem: optional(
    path("Certificate of the identity's key. join writes it.", '"worker-01-identity.pem"'),
  ),
  crls: optional(
    oneOf(
      ["required", "optional"],
      tomlOf(membershipDefault.crls),
      "Whether certificates of the own domain are refused without a revocation list in force, also where crls_pem is not set.",
      { standard: tomlOf(membershipDefault.crls) },
    ),
  ),
  crl_urls: optional(
    origins(["https", "http"], {
      example: '["https://ca.acme.example:8443"]',
      description: "Where revocation lists are fetched, below /crl/. Lists are signed: the server is not verified.",
      standard: "the URLs of `membership.ca`",
    }),
  ),
});

/** Gives the decoded table its type. */
export function typeMembership(decoded: (typeof membership)["Type"]): MembershipConfig {
  const { ca, renew, key, new_key_every, identity_key, identity_cert_pem, crls, crl_urls } = decoded;
  return {
    ca,
    renew: renew ?? membershipDefault.renew,
    key: key ?? membershipDefault.key,
    newKeyEveryMs: new_key_every === undefined ? undefined : durationMs(new_key_every),
    identityKey: identity_key,
    identityCertPem: identity_cert_pem,
    crls: crls ?? membershipDefault.crls,
    crlUrls: crl_urls ?? ca,
  };
}

/** A key that each renewal replaces has no age of its own; key and certificate of an identity go together. */
export function checkMembership({ membership }: Readonly<Record<string, unknown>>): BrokenRule[] {
  if (typeof membership !== "object" || membership === null) return [];
  const { key, new_key_every, identity_key, identity_cert_pem } = membership as Readonly<Record<string, unknown>>;
  const alone = identity_key === undefined ? "identity_cert_pem" : "identity_key";
  const other = identity_key === undefined ? "identity_key" : "identity_cert_pem";
  const lonely = (identity_key === undefined) === (identity_cert_pem === undefined) ? [] : [{
    path: ["membership", alone],
    wrong: `is there without ${other}`,
    expected: "both or none of the two",
    mend: `add ${other}, or take ${alone} out`,
  }];
  if (key !== "new" || new_key_every === undefined) return lonely;
  return [...lonely, {
    path: ["membership", "new_key_every"],
    wrong: 'has no effect with key = "new", where each renewal makes a new key',
    expected: "one of the two",
    mend: 'take it out, or write key = "same"',
  }];
}

function readNewKeyEvery(text: string): number | string {
  const ms = readDuration(text);
  if (typeof ms === "string") return ms;
  return ms >= newKeyEveryMinMs && ms <= newKeyEveryMaxMs ? ms : "is not between 1h and 397d";
}
