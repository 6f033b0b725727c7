/**
 * A node whose identity has a key of its own, for tests of the CA: the key is in this process, where a token of hardware would be.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Effect } from "effect";
import type { CertificateAuthority } from "../../actors/ca/certificate_authority.ts";
import { enrol } from "../../actors/ca/enrol.ts";
import { enrolIdentity } from "../../actors/ca/identity_enrol.ts";
import type { TokenRequest } from "../../actors/ca/token_rows.ts";
import { composeEnrolment, type EnrolmentParts } from "../../pki/enrolment_jws.ts";
import { fileSigner } from "../../pki/issue/mod.ts";
import { start, type TestAuthority, testCsr } from "./authority.ts";

/** An identity that a CA has certified. */
export interface TestIdentity {
  /** DER. */
  readonly certificate: Uint8Array;
  readonly keyPem: string;
  /** A signed request; the CA's own nonce and a new key where nothing else is given. */
  readonly request: (more?: Partial<EnrolmentParts>, at?: Date) => Promise<string>;
  /** Asks for a TLS certificate. */
  readonly enrol: (more?: Partial<EnrolmentParts>, at?: Date) => ReturnType<typeof enrolIdentity>;
}

/** Gets an identity's certificate with a token. */
export async function testIdentity(
  world: Pick<TestAuthority, "token"> & { readonly ca: CertificateAuthority },
  name: string,
  more: Partial<TokenRequest> = {},
  from: Date = start,
): Promise<TestIdentity> {
  const { ca } = world;
  const { der: csr, keyPem } = await testCsr();
  const token = await world.token(name, { key: "hardware", ...more }, from);
  const certificate = await Effect.runPromise(enrol(ca, { token, csr, address: "10.0.0.1" }, from));
  const request: TestIdentity["request"] = async (parts = {}, at = from) =>
    await composeEnrolment({
      csr: (await testCsr(name)).der,
      certificate,
      nonce: ca.nonces.make(+at),
      sign: fileSigner(keyPem).sign,
      ...parts,
    });
  return {
    ...{ certificate, keyPem, request },
    enrol: (parts, at = from) =>
      Effect.flatMap(
        Effect.promise(() => request(parts, at)),
        (text) => enrolIdentity(ca, { body: Buffer.from(text), address: "10.0.0.1" }, at),
      ),
  };
}
