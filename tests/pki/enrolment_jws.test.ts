/** A signed enrolment has one text, one algorithm, and is about one request. */
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type CanonicalFields, canonicalJson } from "../../pki/canonical_json.ts";
import { type Certificate, parseCertificate } from "../../pki/certificate.ts";
import {
  composeEnrolment,
  enrolmentBodyCharactersMax,
  type EnrolmentJwsRefused,
  readEnrolment,
  verifyEnrolment,
} from "../../pki/enrolment_jws.ts";
import { fileSigner, issueRoot } from "../../pki/issue/mod.ts";
import { testCsr } from "../support/authority.ts";

const test = suite("signed enrolments");
const period = { notBefore: new Date("2026-01-01T00:00:00Z"), notAfter: new Date("2027-01-01T00:00:00Z") };
let [body, csr, certificate, sign] = ["", new Uint8Array(), {} as Certificate, fileSigner as unknown as Sign];
type Sign = (bytes: Uint8Array) => Promise<Uint8Array>;
test.before(async () => {
  const made = await issueRoot({ commonName: "identity", ...period });
  certificate = Result.getOrThrow(parseCertificate(made.der));
  sign = fileSigner(made.keyPem).sign;
  csr = (await testCsr()).der;
  body = await composeEnrolment({ csr, certificate: certificate.der, nonce: "nonce-1", sign });
});

/** What becomes of a body. */
const judge = (text: string): "accepted" | EnrolmentJwsRefused["problem"] =>
  Result.match(Result.flatMap(readEnrolment(text), (claim) => verifyEnrolment(claim, certificate)), {
    onSuccess: () => "accepted" as const,
    onFailure: ({ problem }) => problem,
  });

/** A body of other parts, signed again unless the signature is given. */
async function signed(header: CanonicalFields, payload: CanonicalFields, signature?: string, other = csr) {
  const encoded = [header, payload].map((each) => Buffer.from(canonicalJson(each)).toString("base64url")).join(".");
  const own = signature ?? Buffer.from(await sign(Buffer.from(encoded))).toString("base64url");
  return canonicalJson({ csr: Buffer.from(other).toString("base64"), jws: `${encoded}.${own}` });
}

function parts() {
  const { jws } = JSON.parse(body) as { jws: string };
  return jws.split(".").slice(0, 2).map((part) =>
    JSON.parse(Buffer.from(part, "base64url").toString()) as CanonicalFields
  ) as [CanonicalFields, CanonicalFields];
}

test("what was composed is read again, and its signature verifies", () => {
  const claim = Result.getOrThrow(readEnrolment(body));
  assert.equal([claim.nonce, [...claim.csr], [...claim.certificate]], ["nonce-1", [...csr], [...certificate.der]]);
  assert.is(judge(body), "accepted");
});

test("other algorithms, a second header parameter, another request and another key are refused", async () => {
  const [header, payload] = parts();
  const input = JSON.parse(body).jws.split(".").slice(0, 2).join(".");
  const hmac = createHmac("sha256", certificate.publicKey.spki).update(input).digest("base64url");
  const stranger = fileSigner((await testCsr()).keyPem);
  const others: [what: string, text: string, problem: string][] = [
    ["none", await signed({ ...header, alg: "none" }, payload, ""), "algorithm"],
    ["HS256 with the public key", await signed({ ...header, alg: "HS256" }, payload, hmac), "algorithm"],
    ["ES256", await signed({ ...header, alg: "ES256" }, payload), "algorithm"],
    [
      "no alg",
      await signed(Object.fromEntries(Object.entries(header).filter(([name]) => name !== "alg")), payload),
      "algorithm",
    ],
    ["crit", await signed({ ...header, crit: ["exp"] }, payload), "malformed"],
    ["jwk beside x5c", await signed({ ...header, jwk: {} }, payload), "malformed"],
    ["another typ", await signed({ ...header, typ: "JWT" }, payload), "malformed"],
    [
      "two certificates",
      await signed({ ...header, x5c: [...header["x5c"] as string[], "AAAA"] }, payload),
      "malformed",
    ],
    ["a short hash", await signed(header, { csr_sha256: "AAAA" }), "malformed"],
    ["another request", await signed(header, payload, undefined, (await testCsr()).der), "other-request"],
    ["no signature", await signed(header, payload, Buffer.alloc(64).toString("base64url")), "signature"],
    [
      "a stranger's key",
      await composeEnrolment({ csr, certificate: certificate.der, nonce: "n", sign: stranger.sign }),
      "signature",
    ],
    ["white space", body.replace(":", ": "), "malformed"],
    ["a name twice", body.replace("{", '{"csr":"",'), "malformed"],
    ["oversize", `${body}${" ".repeat(enrolmentBodyCharactersMax)}`, "malformed"],
  ];
  for (const [what, text, problem] of others) assert.is(judge(text), problem, what);
});

test("of 10,000 mutated bodies none is accepted", () => {
  let seed = 19;
  const draw = (below: number) => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 4) % below;
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=."{}[]:, ';
  const seen = new Map<string, number>();
  for (let count = 0; count < 10_000; count++) {
    const [from, length] = [draw(body.length), 1 + draw(8)];
    const [before, rest] = [body.slice(0, from), body.slice(from)];
    const letter = alphabet[draw(alphabet.length)]!;
    const text = [
      () => before + letter + rest.slice(1),
      () => before + rest.slice(length),
      () => before + letter + rest,
      () => before + rest.slice(0, length) + rest,
      () => before + rest.slice(0, length).split("").reverse().join("") + rest.slice(length),
      () => before,
    ][draw(6)]!();
    if (text === body) continue;
    const outcome = judge(text);
    seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
  }
  assert.is(seen.get("accepted"), undefined, JSON.stringify([...seen]));
  assert.ok((seen.get("signature") ?? 0) > 100 && (seen.get("malformed") ?? 0) > 100, JSON.stringify([...seen]));
});

test.run();
