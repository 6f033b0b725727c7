/**
 * The TLS side of a node's identity: TLS 1.3 and nothing else, no session tickets, no `ca`.
 *
 * @module
 */
import { constants } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import type { NodeIdentity } from "../port.ts";

/** Which key exchange is offered: `hybrid` puts a post-quantum share first where the runtime has one. */
export type KeyExchange = "hybrid" | "classical";

/**
 * Groups offered, best first. `X25519MLKEM768` is draft-ietf-tls-ecdhe-mlkem; the existing nodes speak X25519, which
 * therefore always follows.
 */
const groups: Record<KeyExchange, readonly string[]> = {
  hybrid: ["X25519MLKEM768:X25519", "X25519"],
  classical: ["X25519"],
};

function createContext(identity: NodeIdentity, keyExchange: KeyExchange): SecureContext {
  let failure: unknown;
  for (const ecdhCurve of groups[keyExchange]) {
    try {
      return createSecureContext({
        cert: identity.certPem,
        key: identity.keyPem,
        minVersion: "TLSv1.3",
        maxVersion: "TLSv1.3",
        ecdhCurve,
        secureOptions: constants.SSL_OP_NO_TICKET,
      });
    } catch (error) {
      failure = error; // a runtime that does not know the hybrid group: the next entry is what it has
    }
  }
  throw failure;
}

/**
 * Makes a source of secure contexts: one context for each generation of the identity, so that a handshake creates none.
 *
 * A context never has a `ca`: the runtimes' own verification differs and its verdict is not used (specification: "Certificate
 * Validation" is `pki/path.ts`). The source throws what the runtime throws for an unusable pair.
 */
export function secureContexts(keyExchange: KeyExchange): (identity: NodeIdentity) => SecureContext {
  let generation: number | undefined;
  let context: SecureContext | undefined;
  return (identity) => {
    if (context === undefined || identity.generation !== generation) {
      context = createContext(identity, keyExchange);
      generation = identity.generation;
    }
    return context;
  };
}
