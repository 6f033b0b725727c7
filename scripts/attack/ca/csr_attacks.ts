/**
 * Attacks with signing requests. The token is good: it must not be used up, and nothing of the request counts but its key.
 *
 * @module
 */
import { randomBytes } from "node:crypto";
import { Result } from "effect";
import { parseCertificate } from "../../../pki/certificate.ts";
import { basicConstraints, keyUsage, subjectAltName } from "../../../pki/issue/extensions.ts";
import { type CaAttack, inParallel, note } from "./attack.ts";
import { forgedCsr } from "./forged_csr.ts";
import { honestAddress, leafIn, makeCsr } from "./world.ts";

/** Requests that are refused. */
function refused(id: string, expected: readonly string[], make: (index: number) => Uint8Array): CaAttack {
  return {
    id,
    count: { full: 50, quick: 3 },
    expected,
    async run(world, count, loot) {
      const token = await world.token(world.name());
      await inParallel(
        count,
        (index) => note(loot, world.enrol(token, make(index), { localAddress: world.addressOf(index) })),
      );
      const { code } = await world.enrol(token, (await makeCsr("any")).csr, { localAddress: honestAddress });
      if (code === "ok") loot.issued += 1;
      else loot.problems.push(`the token was used up: ${code}`);
    },
  };
}

/** Requests whose wishes are passed over: the certificate has what the token says. */
function passedOver(id: string, make: () => Uint8Array): CaAttack {
  return {
    id,
    count: { full: 20, quick: 2 },
    expected: ["ok"],
    async run(world, count, loot) {
      await inParallel(count, async (index) => {
        const name = world.name();
        const token = await world.token(name);
        await note(
          loot,
          world.enrol(token, make(), { localAddress: world.addressOf(index) }).then((reply) => {
            if (reply.code !== "ok") return reply;
            loot.issued += 1;
            const { subject, basicConstraints: constraints, subjectAltNames } = Result.getOrThrow(
              parseCertificate(leafIn(reply.body)),
            );
            const uris = subjectAltNames.filter(({ type }) => type === "uri").map(({ value }) => value);
            if (subject.text !== `CN=${name}` || uris.join() !== `spiffe://acme.example/worker/${name}`) {
              loot.problems.push(`got the name ${subject.text} ${uris.join()}`);
            }
            if (constraints?.ca === true) loot.problems.push("got a CA's certificate");
            return reply;
          }),
        );
      });
    },
  };
}

const names = (...values: readonly string[]) =>
  subjectAltName(values.map((value) => ({ type: value.includes(":") ? "uri" as const : "dns" as const, value })));
const allowedOfCa = [basicConstraints(true, undefined), keyUsage(["keyCertSign", "cRLSign"])];

export const csrAttacks: readonly CaAttack[] = [
  refused("csr-rsa", ["csr-not-allowed"], () => forgedCsr({ key: "rsa" })),
  refused("csr-p-256", ["csr-not-allowed"], () => forgedCsr({ key: "p-256" })),
  refused("csr-signed-by-another-key", ["csr-malformed"], () => forgedCsr({ signedBy: "another key" })),
  refused(
    "csr-of-another-role",
    ["csr-not-allowed"],
    () => forgedCsr({ extensions: [names("spiffe://acme.example/gateway/gateway-01")] }),
  ),
  refused(
    "csr-of-a-ca",
    ["csr-not-allowed"],
    () => forgedCsr({ extensions: [names("spiffe://acme.example/ca/ca-01")] }),
  ),
  refused(
    "csr-with-64-kb-of-names",
    ["csr-malformed", "status-413"],
    (index) =>
      forgedCsr({
        extensions: [
          names(
            ...Array.from({ length: index % 2 === 0 ? 2_000 : 700 }, (_, at) => `n${at}.${"x".repeat(40)}.example`),
          ),
        ],
      }),
  ),
  refused("csr-not-der", ["csr-malformed"], (index) => randomBytes(1 + index * 37)),
  passedOver("csr-with-another-name", () => forgedCsr({ commonName: "127.0.0.1", extensions: [names("localhost")] })),
  passedOver("csr-with-rights-of-a-ca", () => forgedCsr({ extensions: allowedOfCa })),
];
