/**
 * Certificates of a node whose identity is in hardware: that of the identity for a token, and for the identity's signature those for
 * TLS, and the identity's next one.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Effect, Result } from "effect";
import { sameBytes } from "../../pki/bytes.ts";
import type { Certificate } from "../../pki/certificate.ts";
import { composeEnrolment } from "../../pki/enrolment_jws.ts";
import { issuerKeyOf, type Signer } from "../../pki/issue/signer.ts";
import { certificatesOf, chainOf } from "./ca_trust.ts";
import { enrolmentRefused } from "./enrolment_refused.ts";
import type { HeldFiles } from "./enrolment_store.ts";
import { askCaCertificates, askNonce, askWithIdentity, type CaServer } from "./est_client.ts";
import { chainText, type HeldPair, namesOf, spiffeOf } from "./held_pair.ts";
import type { HardwareKey } from "./identity_key.ts";
import { type KeyRequest, ownKeys, requestInfo, requestOf } from "./make_csr.ts";
import {
  type Asked,
  askWithToken,
  type GivenToken,
  type Obtained,
  type ObtainTerms,
  purposeOfToken,
  type RenewTerms,
  takeIssued,
  type Trusted,
  withCa,
} from "./obtain.ts";
import { renewAt } from "./schedule.ts";

interface WithHardware {
  readonly hardware: HardwareKey;
}

/** Gets the certificate of the identity, with a request that its key signs. The same token and key get the same one again. */
export function certifyIdentity(
  token: GivenToken,
  files: HeldFiles,
  { hardware, store, ...terms }: ObtainTerms & WithHardware,
): Asked<Obtained> {
  return Effect.gen(function* () {
    const purpose = purposeOfToken(token);
    const { body, spki } = yield* hardware.use(requestOfToken);
    if (files.next?.purpose !== purpose) yield* store.writeNext({ purpose, keyPem: "" });
    const came = yield* askWithToken(token, body, terms);
    if ("pendingMs" in came) return { type: "pending", pendingMs: came.pendingMs };
    const { chain, domain, trustPem } = came;
    const [leaf] = chain;
    const named = leaf && spiffeOf(leaf);
    if (leaf === undefined || named?.domain !== domain || !sameBytes(leaf.publicKey.spki, spki)) {
      return yield* enrolmentRefused(
        "own-certificate-refused",
        "it is not about the key in hardware, in the CA's domain",
      );
    }
    if (named.role !== "identity") {
      const detail = `the token gives a ${named.role}'s certificate, which the key in hardware cannot use for TLS`;
      return yield* enrolmentRefused("token-not-of-identity", detail);
    }
    return { type: "issued", url: token.url, files: { trustPem, identityPem: chainText(chain) } };
  });
}

/** A request that the token's key signs, about itself. */
async function requestOfToken(signer: Signer): Promise<KeyRequest> {
  const key = issuerKeyOf(signer);
  const info = requestInfo(key);
  return requestOf(key, info, await key.sign(info));
}

/**
 * Gets a certificate for TLS: the first one, or the one that takes the place of a pair. Where two thirds of the life of the identity's
 * own certificate are over, that is renewed before; a failure of that does not keep the node from the other.
 *
 * @param pair The pair in force; its key is kept where the terms say so.
 */
export function enrolWithIdentity(
  pair: HeldPair | undefined,
  files: HeldFiles,
  { hardware, ...terms }: RenewTerms & WithHardware,
): Asked<Obtained> {
  return Effect.gen(function* () {
    const [held] = certificatesOf(files.identityPem ?? "");
    if (held === undefined) {
      return yield* enrolmentRefused("identity-missing", "identity_cert_pem holds no certificate");
    }
    const { keys = ownKeys, at } = terms;
    const keyPem = terms.key === "same" && pair !== undefined ? pair.keyPem : yield* keys.make;
    const { body: csr, spki } = yield* keys.request(keyPem);
    return yield* withCa(held, files, terms, (ca, trusted) =>
      Effect.gen(function* () {
        const isDue = +at >= renewAt(held.period, 1 / 2);
        const renewed = isDue ? yield* Effect.result(renewIdentity(ca, held, { hardware, ...trusted })) : undefined;
        const next = renewed !== undefined && Result.isSuccess(renewed) ? renewed.success : undefined;
        const answer = yield* askSigned(ca, { identity: next?.[0] ?? held, csr: () => Promise.resolve(csr), hardware });
        const came = yield* takeIssued(ca, answer, { spki, keyPem, pair }, { ...terms, ...trusted });
        if (came.type === "pending") return came;
        const renewal = next === undefined ? {} : { identityPem: chainText(next) };
        const refusal = renewed !== undefined && Result.isFailure(renewed) ? renewed.failure : undefined;
        const ending = refusal === undefined ? {} : { ending: { notAfter: held.period.notAfter, refusal } };
        return { ...came, files: { ...came.files, ...renewal }, ...ending };
      }));
  });
}

/** The next certificate of an identity, with its issuers. */
function renewIdentity(
  ca: CaServer,
  held: Certificate,
  { hardware, present }: WithHardware & Trusted,
): Asked<readonly [Certificate, ...Certificate[]]> {
  return Effect.gen(function* () {
    const csr = async (signer: Signer) => (await requestOfToken(signer)).body;
    const answer = yield* askSigned(ca, { identity: held, csr, hardware });
    const isOther = !sameBytes(answer.publicKey.spki, held.publicKey.spki) || namesOf(answer) !== namesOf(held);
    if (isOther) return yield* enrolmentRefused("own-certificate-refused", "it is about another key, or another name");
    if (answer.period.notAfter <= held.period.notAfter) {
      return yield* enrolmentRefused("own-certificate-refused", "it ends no later than the one that it renews");
    }
    const [, ...issuers] = chainOf(answer, [...(yield* askCaCertificates(ca)), ...present]);
    return [answer, ...issuers];
  });
}

/** What the identity's key signs. */
interface Signed extends WithHardware {
  readonly identity: Certificate;
  /** The signing request, base64. */
  readonly csr: (signer: Signer) => Promise<string>;
}

/** Asks for a certificate with a signature over a nonce and a request. */
function askSigned(ca: CaServer, { identity, csr, hardware }: Signed): Asked<Certificate> {
  return Effect.gen(function* () {
    const nonce = yield* askNonce(ca);
    const body = yield* hardware.use(async (signer) => {
      checkKey(identity, signer.spki());
      const parts = { csr: Buffer.from(await csr(signer), "base64"), certificate: identity.der, nonce };
      return await composeEnrolment({ ...parts, sign: signer.sign });
    });
    return yield* askWithIdentity(ca, body);
  });
}

/** @throws {EnrolmentRefused} */
function checkKey({ publicKey }: Certificate, spki: Uint8Array): void {
  if (sameBytes(publicKey.spki, spki)) return;
  throw enrolmentRefused("identity-key-other", "identity_key is not the key of the certificate in identity_cert_pem");
}
