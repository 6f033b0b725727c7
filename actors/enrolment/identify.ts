/**
 * Certificates of a node whose identity is in hardware: that of the identity for a token, and those for TLS for the identity's signature.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Effect } from "effect";
import { sameBytes } from "../../pki/bytes.ts";
import type { Certificate } from "../../pki/certificate.ts";
import { composeEnrolment } from "../../pki/enrolment_jws.ts";
import { issuerKeyOf } from "../../pki/issue/signer.ts";
import { certificatesOf } from "./ca_trust.ts";
import { enrolmentRefused } from "./enrolment_refused.ts";
import type { HeldFiles } from "./enrolment_store.ts";
import { askNonce, askWithIdentity } from "./est_client.ts";
import { chainText, type HeldPair, spiffeOf } from "./held_pair.ts";
import type { HardwareKey } from "./identity_key.ts";
import { ownKeys, requestInfo, requestOf } from "./make_csr.ts";
import {
  type Asked,
  askWithToken,
  type GivenToken,
  type Obtained,
  type ObtainTerms,
  purposeOfToken,
  type RenewTerms,
  takeIssued,
  withCa,
} from "./obtain.ts";

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
    const { body, spki } = yield* hardware.use(async (signer) => {
      const key = issuerKeyOf(signer);
      const info = requestInfo(key);
      return requestOf(key, info, await key.sign(info));
    });
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

/**
 * Gets a certificate for TLS: the first one, or the one that takes the place of a pair.
 *
 * @param pair The pair in force; its key is kept where the terms say so.
 */
export function enrolWithIdentity(
  pair: HeldPair | undefined,
  files: HeldFiles,
  { hardware, ...terms }: RenewTerms & WithHardware,
): Asked<Obtained> {
  return Effect.gen(function* () {
    const [identity] = certificatesOf(files.identityPem ?? "");
    if (identity === undefined) {
      return yield* enrolmentRefused("identity-missing", "identity_cert_pem holds no certificate");
    }
    const { keys = ownKeys } = terms;
    const keyPem = terms.key === "same" && pair !== undefined ? pair.keyPem : yield* keys.make;
    const { body: csr, spki } = yield* keys.request(keyPem);
    return yield* withCa(identity, files, terms, (ca, trusted) =>
      Effect.gen(function* () {
        const nonce = yield* askNonce(ca);
        const body = yield* hardware.use((signer) => {
          checkKey(identity, signer.spki());
          const parts = { csr: Buffer.from(csr, "base64"), certificate: identity.der, nonce, sign: signer.sign };
          return composeEnrolment(parts);
        });
        const answer = yield* askWithIdentity(ca, body);
        return yield* takeIssued(ca, answer, { spki, keyPem, pair }, { ...terms, ...trusted });
      }));
  });
}

/** @throws {EnrolmentRefused} */
function checkKey({ publicKey }: Certificate, spki: Uint8Array): void {
  if (sameBytes(publicKey.spki, spki)) return;
  throw enrolmentRefused("identity-key-other", "identity_key is not the key of the certificate in identity_cert_pem");
}
