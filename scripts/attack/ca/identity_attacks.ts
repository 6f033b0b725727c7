/**
 * Attacks on enrolment with an identity in hardware: `POST /.well-known/hypha/enrol`.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHmac, randomBytes } from "node:crypto";
import { canonicalJson } from "../../../pki/canonical_json.ts";
import { composeEnrolment, type EnrolmentParts } from "../../../pki/enrolment_jws.ts";
import { fileSigner, issueNode, issueRoot } from "../../../pki/issue/mod.ts";
import { type CaAttack, inParallel, type Loot, note } from "./attack.ts";
import { type CaWorld, derOf, honestAddress, leafIn, makeCsr } from "./world.ts";

interface Identity {
  readonly name: string;
  readonly certificate: Uint8Array;
  readonly keyPem: string;
}

/** An identity of the CA's register. */
async function identityOf(world: CaWorld, loot: Loot): Promise<Identity> {
  const name = world.name();
  const token = await world.token(name, { identity: true });
  const { csr, keyPem } = await makeCsr(name);
  const { code, body } = await world.enrol(token, csr, { localAddress: honestAddress });
  if (code !== "ok") throw new Error(`an honest identity was refused: ${code}`);
  loot.issued += 1;
  return { name, certificate: leafIn(body), keyPem };
}

async function nonceOf(world: CaWorld): Promise<string> {
  const { body } = await world.ask("/.well-known/hypha/nonce", { localAddress: honestAddress });
  return (JSON.parse(body.toString("utf8")) as { readonly nonce: string }).nonce;
}

async function requestOf(world: CaWorld, identity: Identity, more: Partial<EnrolmentParts> = {}): Promise<string> {
  const { name, certificate, keyPem } = identity;
  const nonce = more.nonce ?? await nonceOf(world);
  return await composeEnrolment({
    ...{ certificate, sign: fileSigner(keyPem).sign, csr: (await makeCsr(name)).csr },
    ...more,
    nonce,
  });
}

const send = (world: CaWorld, index: number, body: string) =>
  world.ask("/.well-known/hypha/enrol", { method: "POST", body, localAddress: world.addressOf(index) });

/** Parts of a body, and a body of other parts. */
function taken(body: string) {
  const { csr, jws } = JSON.parse(body) as { readonly csr: string; readonly jws: string };
  const [header = "", payload = "", signature = ""] = jws.split(".");
  const fields = JSON.parse(Buffer.from(header, "base64url").toString()) as Record<string, string>;
  const withAlg = (alg: string, sign: (input: string) => string) => {
    const input = `${Buffer.from(canonicalJson({ ...fields, alg })).toString("base64url")}.${payload}`;
    return canonicalJson({ csr, jws: `${input}.${sign(input)}` });
  };
  return { csr, header, payload, signature, withAlg };
}

const attack = (
  id: string,
  expected: readonly string[],
  bodyOf: (world: CaWorld, own: Identity, index: number) => Promise<string>,
  prepare: (world: CaWorld, own: Identity, loot: Loot) => Promise<unknown> = () => Promise.resolve(),
): CaAttack => ({
  id,
  count: { full: 50, quick: 4 },
  expected,
  async run(world, count, loot) {
    const own = await identityOf(world, loot);
    await prepare(world, own, loot);
    await inParallel(count, async (index) => note(loot, send(world, index, await bodyOf(world, own, index))));
  },
});

/** Strangers have seen an identity and lack its key; those who renew one have stolen its key. */
export const identityAttacks: readonly CaAttack[] = [
  attack(
    "enrol-without-a-signature",
    ["jws-algorithm"],
    async (world, own) => taken(await requestOf(world, own)).withAlg("none", () => ""),
  ),
  attack(
    "enrol-signed-with-the-public-key",
    ["jws-algorithm"],
    async (world, own) =>
      taken(await requestOf(world, own)).withAlg(
        "HS256",
        (input) => createHmac("sha256", own.certificate).update(input).digest("base64url"),
      ),
  ),
  attack(
    "enrol-with-another-key",
    ["jws-signature"],
    async (world, own) => await requestOf(world, own, { sign: fileSigner((await makeCsr("any")).keyPem).sign }),
  ),
  attack(
    "enrol-with-a-guessed-nonce",
    ["nonce-unknown"],
    async (world, own) => await requestOf(world, own, { nonce: randomBytes(56).toString("base64url") }),
  ),
  attack("enrol-for-another-request", ["jws-other-request"], async (world, own) => {
    const { header, payload, signature } = taken(await requestOf(world, own));
    const csr = Buffer.from((await makeCsr(own.name)).csr).toString("base64");
    return canonicalJson({ csr, jws: `${header}.${payload}.${signature}` });
  }),
  attack(
    "enrol-for-another-name",
    ["csr-not-allowed"],
    async (world, own) => await requestOf(world, own, { csr: (await makeCsr("w-1")).csr }),
  ),
  attack(
    "enrol-with-a-revoked-identity",
    ["certificate-revoked"],
    (world, own) => requestOf(world, own),
    async (world, { name }, loot) => {
      await world.operate("POST /ca/revoke", { name });
      loot.issued -= 1; // it no longer counts as one in force
    },
  ),
  attack(
    "renew-identity-early",
    ["renewed-too-often"],
    async (world, own) => requestOf(world, own, await makeCsr(own.name, own.keyPem)),
  ),
  attack(
    "renew-identity-under-another-name",
    ["csr-not-allowed"],
    async (world, own) => requestOf(world, own, await makeCsr("w-1", own.keyPem)),
  ),
  attack(
    "renew-a-replaced-identity",
    ["renewal-replaced"],
    async (world, own) => requestOf(world, own, await makeCsr(own.name, own.keyPem)),
    async (world, { name }, loot) => {
      const token = await world.token(name, { identity: true, replace: true });
      await note(loot, world.enrol(token, (await makeCsr(name)).csr, { localAddress: honestAddress }));
      loot.codes.clear();
      loot.issued += 1;
    },
  ),
  {
    id: "enrol-with-a-foreign-identity",
    count: { full: 50, quick: 4 },
    expected: ["not-issued-here"],
    async run(world, count, loot) {
      const dates = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000) };
      const root = await issueRoot({ commonName: "Issuing CA", organization: "acme.example", ...dates });
      const san = ["URI:spiffe://acme.example/identity/w-1"];
      const { certPem, keyPem } = await issueNode({ issuer: root, commonName: "w-1", san, ...dates });
      const own = { name: "w-1", certificate: derOf(certPem), keyPem };
      await inParallel(count, async (index) => note(loot, send(world, index, await requestOf(world, own))));
    },
  },
  {
    id: "enrol-replayed",
    count: { full: 200, quick: 8 },
    expected: ["ok", "nonce-used"],
    async run(world, count, loot) {
      const body = await requestOf(world, await identityOf(world, loot));
      loot.issued += 1;
      await inParallel(count, (index) => note(loot, send(world, index, body)));
      if (loot.codes.get("ok") !== 1) loot.problems.push(`one request was answered ${loot.codes.get("ok")} times`);
    },
  },
  {
    id: "enrol-one-character-changed",
    count: { full: 2_000, quick: 8 },
    expected: [
      "jws-malformed",
      "jws-algorithm",
      "jws-signature",
      "jws-other-request",
      "nonce-unknown",
      "not-issued-here",
    ],
    async run(world, count, loot) {
      const body = await requestOf(world, await identityOf(world, loot));
      await inParallel(count, (index) => {
        const at = (index * 7_919) % body.length;
        const letter = body[at] === "A" ? "B" : "A";
        return note(loot, send(world, index, body.slice(0, at) + letter + body.slice(at + 1)));
      });
    },
  },
];
