/**
 * The certificates of the demo's intruders.
 *
 * @module
 */
import { issueNode, type IssuerFiles, issueRoot } from "../../pki/issue/mod.ts";

const dayMs = 86_400_000;

/** One who tries to get in without being entitled, and the code that has to meet it. */
export interface Intruder {
  readonly name: string;
  /** The name in its certificate; the gateway's log uses it. */
  readonly commonName: string;
  readonly code: string;
  readonly certPem: string;
  readonly keyPem: string;
}

/** A certificate of an unknown CA, an expired one, and a self-signed one. */
export async function makeIntruders(issuer: IssuerFiles, at: Date): Promise<Intruder[]> {
  const days = (count: number) => new Date(at.getTime() + count * dayMs);
  const valid = { notBefore: days(-1), notAfter: days(30) };
  const stranger = await issueRoot({ commonName: "Somebody Else's CA", ...valid });
  const unknown = await issueNode({ issuer: stranger, commonName: "unknown-ca.intruder", ...valid });
  const past = { notBefore: days(-30), notAfter: days(-1) };
  const expired = await issueNode({ issuer, commonName: "expired.intruder", ...past });
  const selfSigned = await issueRoot({ commonName: "self-signed.intruder", ...valid });
  return [
    {
      name: "unknown CA",
      commonName: "unknown-ca.intruder",
      code: "unknown-issuer",
      certPem: unknown.certPem,
      keyPem: unknown.keyPem,
    },
    {
      name: "expired",
      commonName: "expired.intruder",
      code: "certificate-expired",
      certPem: expired.certPem + issuer.certPem,
      keyPem: expired.keyPem,
    },
    {
      name: "self-signed",
      commonName: "self-signed.intruder",
      code: "self-signed",
      certPem: selfSigned.certPem,
      keyPem: selfSigned.keyPem,
    },
  ];
}
