import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import { Effect } from "effect";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { inspect } from "../../actors/certutil/inspect.ts";
import { type Verdict, verifyChain } from "../../actors/certutil/verify.ts";
import { issueCsr } from "../../pki/issue/mod.ts";
import { verdictLines } from "../../scripts/certutil/look_lines.ts";
import { makeTestPki } from "../support/pki.ts";

const test = suite("verifyChain() and inspect()");
const pki = await makeTestPki({ at: new Date("2026-06-01T00:00:00Z") });
const stranger = await makeTestPki({ organization: "Stranger" });
const node = await pki.node("worker-1", { role: "worker" });
let dir = "";

test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), "hypha-verify-"));
  const put = (name: string, text: string) => writeFile(join(dir, name), text);
  await put("chain.pem", node.chainPem);
  await put("leaf.pem", node.certPem);
  await put("root.pem", pki.trustPem);
  await put("other.pem", stranger.trustPem);
  await put("crls.pem", await pki.crls({ thisUpdate: new Date("2026-05-31T00:00:00Z") }));
  await put("root-only.crl", await pki.crl(pki.root));
  const csr = await issueCsr({ commonName: "worker-1" });
  await put("all.pem", node.chainPem + node.keyPem + csr.csrPem + await pki.crl(pki.root, { revoked: ["0a"] }));
});
test.after(() => rm(dir, { recursive: true, force: true }));

interface Case {
  readonly chain?: string;
  readonly trust?: string;
  readonly crls?: string;
  readonly at?: string;
}

function verify(
  { chain = "chain.pem", trust = "root.pem", crls, at = "2026-06-01T00:00:00Z" }: Case,
): Promise<Verdict> {
  const path = (name: string) => join(dir, name);
  const options = { chain: path(chain), trust: path(trust), crls: crls === undefined ? undefined : path(crls), at };
  return Effect.runPromise(Effect.provide(verifyChain(options), NodeFileSystem.layer));
}

const cases: [name: string, options: Case, code: string | null][] = [
  ["a chain under the root alone", {}, null],
  ["the last second of its life", { at: "2027-06-01T00:00:00Z" }, null],
  ["the first second after it", { at: "2027-06-01T00:00:01Z" }, "certificate-expired"],
  ["the first second of its life, in another zone", { at: "2026-05-31T02:00:00+02:00" }, null],
  ["the last second before it", { at: "2026-05-30T23:59:59Z" }, "certificate-not-yet-valid"],
  ["a leaf without its intermediate", { chain: "leaf.pem" }, "unknown-issuer"],
  ["a leaf whose issuer is trusted", { chain: "leaf.pem", trust: "chain.pem" }, null],
  ["a stranger's root", { trust: "other.pem" }, "unknown-issuer"],
  ["lists of both CAs", { crls: "crls.pem" }, null],
  ["no list of the leaf's issuer", { crls: "root-only.crl" }, "revocation-unknown"],
];
for (const [name, options, code] of cases) {
  test(`${code ?? "accepts"}: ${name}`, async () => {
    const verdict = await verify(options);
    assert.is(verdict.code, code);
    assert.is(verdict.ok, code === null);
    assert.is(verdict.reason === null, code === null);
    assert.is(verdict.path.length === 0, code !== null);
  });
}

test("tells the path from the leaf to the anchor, and who the peer is", async () => {
  const verdict = await verify({});
  assert.equal(verdict.path.map(({ subject }) => subject), [
    "CN=worker-1",
    "CN=Test Intermediate CA, O=Test",
    "CN=Test Root CA, O=Test",
  ]);
  assert.is(verdict.peer?.role, "worker");
  assert.is(verdict.path[0]?.serial, node.serial);
  assert.match(verdictLines(verdict).join("\n"), /^accepted\n {2}leaf .*\n {2}issuer .*\n {2}anchor /);
  const refused = verdictLines(await verify({ chain: "leaf.pem" }));
  assert.is(refused[0], "refused: unknown-issuer");
  assert.match(refused[2] ?? "", "put it behind the leaf");
});

test("shows every kind of block, with its line", async () => {
  const file = join(dir, "all.pem");
  const { ok, blocks } = await Effect.runPromise(Effect.provide(inspect(file), NodeFileSystem.layer));
  assert.ok(ok);
  assert.equal(blocks.map(({ kind }) => kind), [
    "certificate",
    "certificate",
    "private-key",
    "signing-request",
    "revocation-list",
  ]);
  const [leaf, , key, csr, list] = blocks;
  assert.equal(leaf?.fields["names"], ["IP:0.0.0.0", "DNS:worker-1", "URI:spiffe://test.hypha/worker/worker-1"]);
  assert.match(String(leaf?.fields["peer"]), /^12D3KooW/);
  assert.equal(Object.keys(key?.fields ?? {}), ["algorithm", "format", "publicKey", "subjectKeyId", "peer"]);
  assert.is(key?.fields["peer"], leaf?.fields["peer"]);
  assert.is(csr?.fields["subject"], "CN=worker-1");
  assert.is(list?.fields["entries"], 1);
  assert.is(blocks[0]?.line, 1);
  assert.ok((blocks[1]?.line ?? 0) > 10);
});

test.run();
