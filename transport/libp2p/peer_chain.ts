/**
 * The certificates a peer sent, taken from its TLS socket.
 *
 * @module
 */
import type { X509Certificate } from "node:crypto";
import type { DetailedPeerCertificate, TLSSocket } from "node:tls";
import { sameBytes } from "../../pki/bytes.ts";

/**
 * How many certificates are taken from a socket at most. More than any chain may have that is verified, so that too long
 * a chain is refused for its length (RFC 5280 sets no limit; the existing network's chains have two).
 */
export const chainCertificatesMax = 16;

/**
 * From where a runtime hands out what arrived: `getPeerX509Certificate`, `getPeerCertificate(true)`, or the list of DER below the
 * latter, which costs a quarter of it.
 */
export type ChainSource = "x509" | "detailed" | "list";

/** Deno links its X509Certificate of the leaf to the next one and no further; Node makes the detailed ones at a price. */
const sourceOfRuntime: ChainSource = "Deno" in globalThis ? "list" : "x509";

/**
 * Reads the chain that the peer sent, leaf first, in the order in which it was sent, as DER; empty when it sent none. What
 * follows a certificate that was there before is left off: a root is its own issuer. A socket is read once: Node forgets
 * what it has handed out.
 *
 * The context has no `ca`, so this is what arrived in the handshake and nothing that the runtime completed. It verifies
 * nothing; it throws where the runtime cannot read a certificate at all.
 */
export function peerChain(socket: TLSSocket, source: ChainSource = sourceOfRuntime): Uint8Array[] {
  const chain: Uint8Array[] = [];
  for (const der of certificatesOf(socket, source)) {
    if (chain.length >= chainCertificatesMax || chain.some((known) => sameBytes(known, der))) break;
    chain.push(der);
  }
  return chain;
}

/** The certificates as the runtime hands them out, perhaps without end. */
function certificatesOf(socket: TLSSocket, source: ChainSource): Iterable<Uint8Array> {
  const leaf = socket.getPeerX509Certificate(); // Deno throws here where it is no X.509, and would give none for it below
  if (source === "x509") return linked(leaf);
  return (source === "list" ? listOf(socket) : undefined) ?? linked(socket.getPeerCertificate(true));
}

function* linked(leaf: X509Certificate | DetailedPeerCertificate | undefined): Generator<Uint8Array> {
  for (let certificate = leaf; certificate?.raw !== undefined; certificate = certificate.issuerCertificate) {
    yield certificate.raw;
  }
}

/** Deno's list behind `getPeerCertificate(true)`, which is no published interface; undefined where it is another. */
function listOf(socket: TLSSocket): readonly Uint8Array[] | undefined {
  const { _handle: handle } = socket as { _handle?: { getPeerCertificateChain?(): { certificates?: unknown } | null } };
  const list = handle?.getPeerCertificateChain?.()?.certificates;
  return Array.isArray(list) && list.length > 0 && list.every((der) => der instanceof Uint8Array) ? list : undefined;
}
