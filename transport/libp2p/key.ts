/**
 * The key of a node, for libp2p.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey } from "node:crypto";
import { generateKeyPairFromSeed } from "@libp2p/crypto/keys";
import type { PrivateKey } from "@libp2p/interface";
import type { NodeIdentity } from "../port.ts";

/** The key of a node, as libp2p wants it. Only Ed25519 keys make PeerIDs of this network. */
export function libp2pKey(identity: NodeIdentity): Promise<PrivateKey> {
  const { d, crv } = createPrivateKey(identity.keyPem).export({ format: "jwk" });
  if (crv !== "Ed25519" || d === undefined) throw new TypeError("Cannot make a PeerID: the key is not Ed25519");
  return generateKeyPairFromSeed("Ed25519", Uint8Array.from(Buffer.from(d, "base64url")));
}
