/**
 * Whether a node has the key of the certificate that it sends: shown with a real signature, once a pair in a process.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, sign, verify, X509Certificate } from "node:crypto";
import type { NodeIdentity } from "../port.ts";

const challenge = Buffer.from("hypha simulated handshake");
const known = new WeakMap<NodeIdentity, boolean>();
/** Pairs of key and certificate that were tried: the same ones come again with every seed of an organisation. */
const tried = new Map<string, boolean>();
/** Pairs kept, of some 700 octets each; the oldest goes first. */
const triedMax = 4_096;

/** What TLS 1.3 proves with its CertificateVerify. */
export function provesPossession(identity: NodeIdentity): boolean {
  const before = known.get(identity);
  if (before !== undefined) return before;
  const pair = `${identity.keyPem} ${Buffer.from(identity.chain[0] ?? []).toString("base64")}`;
  const proven = tried.get(pair) ?? prove(identity);
  if (tried.size >= triedMax) tried.delete(tried.keys().next().value as string);
  tried.set(pair, proven);
  known.set(identity, proven);
  return proven;
}

function prove({ chain, keyPem }: NodeIdentity): boolean {
  const [leaf] = chain;
  if (leaf === undefined) return false;
  try {
    const signature = sign(null, challenge, createPrivateKey(keyPem));
    return verify(null, challenge, new X509Certificate(leaf).publicKey, signature);
  } catch {
    return false;
  }
}
