/**
 * Binds the key of an audit log to the node that keeps it: the node signs the verifier key with the key of its certificate. Without it,
 * a witness could make another node's log look forked, with a key of its own.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, sign } from "node:crypto";
import { Result } from "effect";
import { type Certificate, type KeyAlgorithm, parseCertificate } from "../../pki/certificate.ts";
import { verifySignature } from "../../pki/signature.ts";
import type { NodeIdentity } from "../../transport/node_identity.ts";
import { originOf } from "./checkpoint.ts";

/** What binds a key: the node's certificates and its signature. */
export interface KeyBinding {
  /** The verifier key, `NAME+ID+KEY`. */
  readonly key: string;
  readonly signature: Uint8Array;
  /** The node's certificate first, DER. */
  readonly chain: readonly Uint8Array[];
}

/** How each kind of key signs: with node:crypto, and as X.509 names it. */
const methods: Readonly<Record<KeyAlgorithm, readonly [hash: string | null, algorithm: string] | undefined>> = {
  "ed25519": [null, "1.3.101.112"],
  "ecdsa-p256": ["sha256", "1.2.840.10045.4.3.2"],
  "ecdsa-p384": ["sha256", "1.2.840.10045.4.3.2"],
  "rsa": ["sha256", "1.2.840.113549.1.1.11"],
  "unknown": undefined,
};

/** The signed bytes name their purpose. */
const signedBytes = (key: string): Buffer => Buffer.from(`hypha-audit-key/1\n${key}\n`);

function leafOf(chain: readonly Uint8Array[]): Certificate | undefined {
  const [leaf] = chain;
  return leaf === undefined ? undefined : Result.getOrUndefined(parseCertificate(leaf));
}

/** The origin of the log of a node with this certificate; undefined where it names no SPIFFE ID, which two nodes cannot share. */
export function originOfNames(names: readonly string[]): string | undefined {
  const [id, ...more] = names.filter((name) => name.startsWith("URI:"));
  return id?.startsWith("URI:spiffe://") && more.length === 0 ? originOf(id.slice("URI:".length)) : undefined;
}

/** Binds a key to a node. Undefined where the node's key cannot sign. */
export function bindKey(
  { chain, keyPem }: Pick<NodeIdentity, "chain" | "keyPem">,
  key: string,
): KeyBinding | undefined {
  const method = methods[leafOf(chain)?.publicKey.algorithm ?? "unknown"];
  if (method === undefined) return undefined;
  return { key, signature: sign(method[0], signedBytes(key), createPrivateKey(keyPem)), chain };
}

/**
 * The SPIFFE origin that a binding proves its key for; undefined where it proves none.
 *
 * Whether the certificates lead to a trust anchor is left to the caller.
 */
export function boundOrigin({ key, signature, chain }: KeyBinding): string | undefined {
  const leaf = leafOf(chain);
  const method = methods[leaf?.publicKey.algorithm ?? "unknown"];
  if (leaf === undefined || method === undefined) return undefined;
  if (!verifySignature({ data: signedBytes(key), algorithm: method[1], signature }, leaf.publicKey)) return undefined;
  return originOfNames(leaf.subjectAltNames.filter(({ type }) => type === "uri").map(({ value }) => `URI:${value}`));
}
