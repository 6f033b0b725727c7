/**
 * Whether a node has the key of the certificate that it sends: shown with a real signature, once a pair.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, sign, verify, X509Certificate } from "node:crypto";
import type { NodeIdentity } from "../port.ts";

const challenge = Buffer.from("hypha simulated handshake");
const known = new WeakMap<NodeIdentity, boolean>();

/** What TLS 1.3 proves with its CertificateVerify. */
export function provesPossession(identity: NodeIdentity): boolean {
  const before = known.get(identity);
  if (before !== undefined) return before;
  const proven = prove(identity);
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
