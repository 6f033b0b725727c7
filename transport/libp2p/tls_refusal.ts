/**
 * From a runtime's error of a failed handshake to one of this network's refusals. OpenSSL (Node) and rustls (Deno)
 * word the same failure differently: the code that comes out is the same.
 *
 * @module
 */
import { HungUp, NoCertificate, ProtocolMismatch, type Refusal, TlsFailed, TlsVersion } from "../../pki/refusal.ts";

/** Words of each runtime, in the order in which they are looked for. The rest is `tls-failed`. */
const wordings: readonly (readonly [RegExp, (detail: string) => Refusal])[] = [
  // Certificates of more octets than the runtime reads (OpenSSL 100 kB, rustls 64 kB), before anything is parsed.
  [/PayloadTooLarge|excessive[_ ]message[_ ]size/i, (detail) => new TlsFailed({ detail })],
  [
    /unsupported[_ ]protocol|protocol[_ ]version|version[_ ]too[_ ]low|wrong ssl version|SupportedVersions|incompatible: Tls1[123]|Tls12NotOffered/i,
    (detail) => new TlsVersion({ detail }),
  ],
  [
    /no[_ ]application[_ ]protocol|wrong[_ ]version[_ ]number|http[_ ]request|InvalidContentType|packet[_ ]length|bad record type|not a tls|invalid message|unexpected message|corrupt message|UnexpectedMessage|InvalidMessage/i,
    (detail) => new ProtocolMismatch({ detail }),
  ],
  [
    /peer did not return a certificate|NoCertificatesPresented|certificate required|certificate_required/i,
    (detail) => new NoCertificate({ detail }),
  ],
  [
    /ECONNRESET|EPIPE|socket disconnected|before secure|unexpected eof|UnexpectedEof|close_notify|closed/i,
    (detail) => new HungUp({ detail }),
  ],
];

/** The refusal for a TLS error. Longest detail kept: 200 characters. */
export function refusalOfTlsError(error: unknown): Refusal {
  const code = (error as { code?: unknown }).code;
  const text = error instanceof Error ? error.message : String(error);
  const detail = `${typeof code === "string" ? `${code}: ` : ""}${text}`.slice(0, 200);
  for (const [pattern, make] of wordings) if (pattern.test(detail)) return make(detail);
  return new TlsFailed({ detail });
}
