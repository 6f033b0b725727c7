/**
 * Which keys nodes accept without being configured for them.
 *
 * @module
 */
import type { Certificate } from "../../pki/certificate.ts";
import { defaultPolicy } from "../../pki/trust.ts";

/**
 * Warns of a key that nodes refuse by default, and names the configuration key that allows it.
 *
 * @param owner Whose key it is: a CA's key and a node's are allowed by different configuration keys.
 */
export function keyWarning(
  { algorithm, label }: Certificate["publicKey"],
  owner: "CA" | "node",
): readonly string[] {
  const [allowed, key] = owner === "CA"
    ? [defaultPolicy.caAlgorithms, "ca_algorithms"]
    : [defaultPolicy.leafAlgorithms, "leaf_algorithms"];
  if (allowed.includes(algorithm)) return [];
  const what = `the ${owner}'s key is ${label}, which nodes refuse by default`;
  if (algorithm === "unknown") return [`${what}, and no configuration allows it: make an Ed25519 key`];
  return [
    `${what} (they accept Ed25519 only): every peer needs ${key} = ["ed25519", "${algorithm}"] in its configuration`,
  ];
}
