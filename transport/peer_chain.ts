/**
 * The certificates a peer sent, taken from its TLS socket.
 *
 * @module
 */
import type { X509Certificate } from "node:crypto";
import type { DetailedPeerCertificate, TLSSocket } from "node:tls";

/**
 * How many certificates are taken from a socket at most. One more than the longest path that is ever verified (RFC 5280
 * sets none; the existing network's chains have two), so that too long a chain is refused for its length.
 */
export const chainCertificatesMax = 16;

/**
 * Reads the chain that the peer sent, leaf first, as DER; empty when it sent none.
 *
 * The context has no `ca`, so this is what arrived in the handshake and nothing that the runtime completed. It judges
 * nothing. Certificates that the leaf's issuers do not lead to are not among them: the runtime follows issuer links.
 */
export function peerChain(socket: TLSSocket): Uint8Array[] {
  const native = socket.getPeerX509Certificate?.();
  return native === undefined ? fromDetailed(socket) : fromNative(native);
}

function fromNative(leaf: X509Certificate): Uint8Array[] {
  const chain: Uint8Array[] = [];
  for (
    let certificate: X509Certificate | undefined = leaf;
    certificate !== undefined && chain.length < chainCertificatesMax;
    certificate = certificate.issuerCertificate
  ) {
    const der = certificate.raw;
    if (chain.some((known) => der.equals(known))) break; // a self-signed certificate is its own issuer
    chain.push(der);
  }
  return chain;
}

function fromDetailed(socket: TLSSocket): Uint8Array[] {
  const chain: Uint8Array[] = [];
  let certificate: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  while (certificate?.raw !== undefined && chain.length < chainCertificatesMax) {
    const der = certificate.raw;
    if (chain.some((known) => der.equals(known))) break;
    chain.push(der);
    certificate = certificate.issuerCertificate;
  }
  return chain;
}
