/** The identity that an application makes from texts. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { checkOwnChain, type IdentityPair, makeIdentity } from "../../mod.ts";
import { loadIdentity } from "../../actors/trust/load_identity.ts";
import { makePorts } from "../../actors/runtime/real_ports.ts";
import { makeTestPki } from "../support/pki.ts";
import { snapshotOf } from "../support/transports.ts";

const pki = await makeTestPki();
const node = await pki.node("a.example");
const pair: IdentityPair = { certPem: node.chainPem, keyPem: node.keyPem };
const folder = await mkdtemp(join(tmpdir(), "hypha-application-"));

const identities = suite("makeIdentity()");
identities.after(() => rm(folder, { recursive: true, force: true }));

identities("gives what a node has after it loaded the same pair from files", async () => {
  const [certPem, keyPem] = [join(folder, "node.pem"), join(folder, "node.key")];
  await writeFile(certPem, node.chainPem);
  await writeFile(keyPem, node.keyPem, { mode: 0o600 });
  const ports = makePorts(() => {});
  const at = new Date();
  const loaded = await new Promise((resolve) =>
    ports.run(
      loadIdentity({ certPem, keyPem, at, generation: 1 }),
      (exit) => resolve(exit._tag === "Success" && exit.value),
    )
  );
  await ports.dispose();
  assert.equal(Result.getOrThrow(makeIdentity(pair, { at })), loaded);
});

identities("takes octets as it takes text, and the number that it is given", () => {
  const octets = { certPem: new TextEncoder().encode(node.chainPem), keyPem: new TextEncoder().encode(node.keyPem) };
  const made = Result.getOrThrow(makeIdentity(octets, { generation: 7 }));
  assert.equal([made.generation, made.name], [7, "a.example"]);
  assert.is(made.certPem, Result.getOrThrow(makeIdentity(pair)).certPem);
});

const faults: [name: string, pair: Partial<IdentityPair>, at: Date | undefined, expected: string][] = [
  ["a key that is none", { keyPem: "key" }, undefined, "keyPem malformed"],
  ["an empty certificate", { certPem: "" }, undefined, "certPem empty"],
  ["another's key", { keyPem: pki.root.keyPem }, undefined, "certPem mismatch"],
  ["a certificate that is over", {}, new Date("2090-01-01T00:00:00Z"), "certPem expired"],
  ["a certificate of later", {}, new Date("1990-01-01T00:00:00Z"), "certPem not-yet-valid"],
];
for (const [name, change, at, expected] of faults) {
  identities(`refuses ${name}, and says which text is at fault`, () => {
    const made = makeIdentity({ ...pair, ...change }, at === undefined ? {} : { at });
    assert.is(Result.isFailure(made) && `${made.failure.file} ${made.failure.problem}`, expected);
  });
}

identities("does not ask who trusts it: checkOwnChain() does", async () => {
  const stranger = await (await makeTestPki({ organization: "Another" })).node("b.example");
  const made = Result.getOrThrow(makeIdentity({ certPem: stranger.chainPem, keyPem: stranger.keyPem }));
  assert.is(checkOwnChain(made, snapshotOf(pki), { at: new Date() })?.code, "unknown-issuer");
  assert.is(checkOwnChain(Result.getOrThrow(makeIdentity(pair)), snapshotOf(pki), { at: new Date() }), undefined);
});

identities.run();
