import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import * as NodePath from "@effect/platform-node-shared/NodePath";
import { Effect, Layer, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { hostname, tmpdir } from "node:os";
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { beginRecord } from "../../actors/certutil/begin_record.ts";
import { CertutilError } from "../../actors/certutil/certutil_error.ts";
import { type Outcome, writeOutputs } from "../../actors/certutil/outcome.ts";
import { makeCrl, revoke } from "../../actors/certutil/revoke.ts";
import { verifyChain } from "../../actors/certutil/verify.ts";
import { parseCrl, type RevocationList } from "../../pki/crl.ts";
import { issueCrl, issueIntermediate, type RevocationReason } from "../../pki/issue/mod.ts";
import { revokedEntries } from "../../pki/issue/revoked_entries.ts";
import { parsePem } from "../../pki/pem.ts";
import { makeTestPki, type TestNode, type TestPki } from "../support/pki.ts";

const test = suite("revoke() and makeCrl()");
const pki: TestPki = await makeTestPki();
const nodes: readonly TestNode[] = await Promise.all(["a", "b", "c", "d"].map((name) => pki.node(name)));
const services = Layer.merge(NodeFileSystem.layer, NodePath.layer);
let dir = "";

test.before.each(async () => {
  dir = await mkdtemp(join(tmpdir(), "hypha-revoke-"));
  for (const [name, { certPem, keyPem, der }] of Object.entries({ root: pki.root, int: pki.intermediate })) {
    await writeFile(at(`${name}.pem`), certPem);
    await writeFile(at(`${name}.key`), keyPem, { mode: 0o600 });
    const [record] = await run(beginRecord(der, at(`${name}.pem`), "new"));
    await writeFile(record!.path, record!.content);
  }
  for (const { name, chainPem } of nodes) await writeFile(at(`${name}.pem`), chainPem);
});
test.after.each(() => rm(dir, { recursive: true, force: true }));

const at = (name: string) => join(dir, name);
const ca = (name: string) => ({
  caCert: at(`${name}.pem`),
  caKey: at(`${name}.key`),
  days: 30,
  outCrl: at("crls.pem"),
});
const record = () => readFile(at("int.pem.revoked.tsv"), "utf8");

async function run<A = Outcome>(command: Effect.Effect<A, CertutilError, FileSystem | Path>): Promise<A> {
  const result = await Effect.runPromise(Effect.provide(Effect.result(command), services));
  if (Result.isSuccess(result)) return result.success;
  throw result.failure;
}

const revokeNode = (name: string, reason: RevocationReason = "unspecified") =>
  run(revoke({ ...ca("int"), cert: at(`${name}.pem`), reason }));

async function refusal(command: () => Promise<unknown>): Promise<string> {
  try {
    await command();
    return "done";
  } catch (error) {
    if (error instanceof CertutilError) return error.message.replaceAll(`${dir}/`, "");
    throw error;
  }
}

async function lists(): Promise<readonly RevocationList[]> {
  const blocks = Result.getOrThrow(parsePem(await readFile(at("crls.pem"), "utf8")));
  return blocks.map(({ der }) => Result.getOrThrow(parseCrl(der)));
}

const numbers = async () => (await lists()).map(({ issuer, number }) => `${issuer.commonName} ${number}`);
const revokedIn = (list: RevocationList) => Result.getOrThrow(revokedEntries(list)).map(({ serial }) => serial).sort();
const serials = (...names: string[]) =>
  nodes.filter(({ name }) => names.includes(name)).map(({ serial }) => serial).sort();

async function verdict(name: string): Promise<string | null> {
  const options = { chain: at(`${name}.pem`), trust: at("root.pem"), crls: at("crls.pem"), at: undefined };
  const { code } = await Effect.runPromise(Effect.provide(verifyChain(options), services));
  return code;
}

test("keeps lists of several CAs in one file, each in its place", async () => {
  await run(makeCrl(ca("root")));
  await run(makeCrl(ca("int")));
  assert.equal(await numbers(), ["Test Root CA 1", "Test Intermediate CA 1"]);
  assert.is(await verdict("a"), null);
  await revokeNode("a", "keyCompromise");
  await run(makeCrl(ca("root")));
  assert.equal(await numbers(), ["Test Root CA 2", "Test Intermediate CA 2"]);
  assert.is(await verdict("a"), "certificate-revoked");
  assert.is(await verdict("b"), null);
});

test("records each revocation once, with its first date and reason", async () => {
  await revokeNode("a", "keyCompromise");
  const first = await record();
  const { warnings } = await revokeNode("a", "superseded");
  assert.match(warnings.join(), "already revoked");
  assert.is((await record()).replace("number\t2", "number\t1").replace("base\t2", "base\t1"), first);
  assert.match(first, new RegExp(`^${nodes[0]!.serial}\\t[0-9-]{10}T[0-9:]{8}Z\\tkeyCompromise\\tCN=a$`, "m"));
  await revokeNode("b");
  assert.equal(revokedIn((await lists())[0]!), serials("a", "b"));
});

test("loses nothing when many revoke at once", async () => {
  await run(makeCrl(ca("root")));
  await Promise.all(["a", "b", "c", "d"].map((name) => revokeNode(name)));
  const [root, intermediate] = await lists();
  assert.is(root!.entryCount, 0);
  assert.is(intermediate!.number, "4");
  assert.equal(revokedIn(intermediate!), serials("a", "b", "c", "d"));
  const left = (await readdir(dir)).filter((name) => name.endsWith(".lock") || name.endsWith(".tmp"));
  assert.equal(left, []);
});

test("two CAs that write one file at once both get their list in", async () => {
  await Promise.all([revokeNode("a"), run(makeCrl(ca("root"))), revokeNode("b"), run(makeCrl(ca("root")))]);
  assert.equal((await numbers()).toSorted(), ["Test Intermediate CA 2", "Test Root CA 2"]);
});

test("takes over the lock of a process that is gone, not that of one that lives", async () => {
  await writeFile(at("crls.pem.lock"), `${hostname()} 4194304 mark\n`); // beyond every process number of the kernel
  await revokeNode("a");
  assert.not.ok((await readdir(dir)).includes("crls.pem.lock"));
  await writeFile(at("crls.pem.lock"), `${hostname()} 1 mark\n`);
  let freed = false;
  const waiting = revokeNode("b").then(() => assert.ok(freed));
  const during = run(makeCrl({ ...ca("root"), outCrl: at("other.pem") }));
  await during; // another file is not locked
  freed = true;
  await rm(at("crls.pem.lock"));
  await waiting;
});

test("takes no revocation back when the record is lost", async () => {
  await revokeNode("a", "keyCompromise");
  await rm(at("int.pem.revoked.tsv"));
  const { warnings } = await revokeNode("b");
  assert.match(warnings.join(), "took 1 revocations over");
  const [list] = await lists();
  assert.is(list!.number, "2");
  assert.equal(revokedIn(list!), serials("a", "b"));
  assert.match(await record(), "keyCompromise");
});

test("counts on when the list is lost", async () => {
  await revokeNode("a");
  await rm(at("crls.pem"));
  await run(makeCrl(ca("int")));
  const [list] = await lists();
  assert.is(list!.number, "2");
  assert.equal(revokedIn(list!), serials("a"));
});

test("revokes an intermediate with the root", async () => {
  await run(makeCrl(ca("int")));
  await run(revoke({ ...ca("root"), cert: at("int.pem"), reason: "cACompromise" }));
  assert.is(await verdict("a"), "certificate-revoked");
});

test("refuses to revoke what another CA issued", async () => {
  assert.match(
    await refusal(() => run(revoke({ ...ca("root"), cert: at("a.pem"), reason: "unspecified" }))),
    "Cannot revoke a.pem: it was issued by CN=Test Intermediate CA, O=Test, not by root.pem",
  );
  const namesake = await makeTestPki();
  await writeFile(at("a.pem"), (await namesake.node("a")).certPem);
  assert.match(await refusal(() => revokeNode("a")), "another CA of the same name");
});

test("refuses to use another CA's record", async () => {
  await revokeNode("a");
  const period = { notBefore: new Date(Date.now() - 1_000), notAfter: new Date(Date.now() + 86_400_000) };
  const renewed = await issueIntermediate({
    issuer: pki.root,
    commonName: "Test Intermediate CA",
    organization: "Test",
    ...period,
  });
  await writeFile(at("int.pem"), renewed.certPem);
  await writeFile(at("int.key"), renewed.keyPem);
  const before = await readFile(at("crls.pem"), "utf8");
  assert.match(await refusal(() => run(makeCrl(ca("int")))), "it belongs to another CA");
  assert.is(await readFile(at("crls.pem"), "utf8"), before);
  // With a record of its own, the old key's list stays in force beside the new key's.
  await run(makeCrl({ ...ca("int"), record: at("new.tsv"), first: true }));
  assert.equal(await numbers(), ["Test Intermediate CA 1", "Test Intermediate CA 1"]);
});

test("overwrites nothing that is no revocation list", async () => {
  await writeFile(at("crls.pem"), pki.root.certPem);
  assert.match(await refusal(() => run(makeCrl(ca("int")))), "there is a CERTIFICATE at line 1");
  await writeFile(at("crls.pem"), "important notes");
  assert.match(await refusal(() => run(makeCrl(ca("int")))), "it holds something else, not a revocation list");
  assert.is(await readFile(at("crls.pem"), "utf8"), "important notes");
  await writeFile(at("crls.pem"), "");
  assert.is(await refusal(() => run(makeCrl(ca("int")))), "done");
});

test("overwrites no list that only claims to be the CA's", async () => {
  const { root, intermediate } = await makeTestPki();
  const forged = (issuer: { certPem: string; keyPem: string }) =>
    issueCrl({
      issuer,
      revoked: [],
      number: 99n,
      thisUpdate: new Date(Date.now() - 1_000),
      nextUpdate: new Date(Date.now() + 60_000),
      overrides: { omit: ["authorityKeyId"] },
    });
  await writeFile(at("crls.pem"), await forged(intermediate) + await forged(root));
  assert.match(await refusal(() => run(makeCrl(ca("int")))), "names this CA, which did not sign it");
});

const broken: [name: string, text: string, expected: string][] = [
  ["a line that is no revocation", "authority\tab12\nnumber\t1\nrubbish\n", "line 3 is not a revocation"],
  ["no authority", "number\t1\n", "its line `authority` is missing"],
  ["no number", "authority\tab12\n", "its line `number` is missing"],
  ["a negative number", "authority\tab12\nnumber\t-1\n", "line 2 is not a revocation"],
  ["an unknown reason", "authority\tab12\nnumber\t1\nab\t2026-01-01T00:00:00Z\twhim\t\n", "line 3 is not a revocation"],
  ["an impossible date", "authority\tab12\nnumber\t1\nab\t2026-13-01T00:00:00Z\tsuperseded\t\n", "line 3 is not"],
  ["an empty file", "", "its line `authority` is missing"],
];
for (const [name, text, expected] of broken) {
  test(`refuses a record with ${name}, and changes nothing`, async () => {
    await writeFile(at("int.pem.revoked.tsv"), text);
    assert.match(await refusal(() => revokeNode("a")), expected);
    assert.is(await record(), text);
    assert.not.ok((await readdir(dir)).includes("crls.pem"));
  });
}

const inputs: [name: string, options: () => Parameters<typeof revoke>[0], expected: string][] = [
  [
    "no certificate",
    () => ({ ...ca("int"), cert: at("none.pem"), reason: "unspecified" }),
    "Cannot read certificate none.pem: there is no such file. Check the path given with --cert.",
  ],
  [
    "a key as certificate",
    () => ({ ...ca("int"), cert: at("int.key"), reason: "unspecified" }),
    "Cannot read certificate int.key: it holds a private key, not a certificate. Name a certificate in PEM or DER with --cert.",
  ],
  [
    "a folder that is missing",
    () => ({ ...ca("int"), cert: at("a.pem"), reason: "unspecified", outCrl: at("gone/crls.pem") }),
    "Cannot write gone/crls.pem.lock: its folder is missing. Choose a folder that is there and writable.",
  ],
  [
    "no days",
    () => ({ ...ca("int"), cert: at("a.pem"), reason: "unspecified", days: 0 }),
    "Cannot use --days: 0 is out of range. Give a whole number from 1 to 36525.",
  ],
];
for (const [name, options, expected] of inputs) {
  test(`refuses ${name}`, async () => assert.is(await refusal(() => run(revoke(options()))), expected));
}

test("warns of a CA key that is open to others", async () => {
  await rm(at("int.key"));
  await writeFile(at("int.key"), pki.intermediate.keyPem, { mode: 0o644 });
  assert.match((await revokeNode("a")).warnings.join(), /open to others \(mode 0644\): chmod 600/);
});

test("bug: a list behind a symbolic link stayed old: the link was replaced", async () => {
  await mkdir(at("www"));
  await symlink(join("www", "published.pem"), at("crls.pem")); // there is none yet
  await revokeNode("a");
  await revokeNode("b");
  assert.ok((await lstat(at("crls.pem"))).isSymbolicLink());
  assert.equal(await readFile(at("www/published.pem"), "utf8"), await readFile(at("crls.pem"), "utf8"));
  assert.equal(await numbers(), ["Test Intermediate CA 2"]);
  await writeFile(at("www/kept.tsv"), await record());
  await rm(at("int.pem.revoked.tsv"));
  await symlink(at("www/kept.tsv"), at("int.pem.revoked.tsv"));
  await revokeNode("c");
  assert.match(await readFile(at("www/kept.tsv"), "utf8"), /^number\t3$/m);
});

test("bug: what a command reads was replaced where an output was a symbolic link to it", async () => {
  await symlink(at("int.pem"), at("crls.pem"));
  await rm(at("int.pem.revoked.tsv"));
  await symlink(at("int.pem"), at("int.pem.revoked.tsv"));
  assert.not.match(await refusal(() => revokeNode("a")), "done");
  await rm(at("crls.pem"));
  const output = { path: at("crls.pem"), kind: "ca-certificate" as const, content: pki.root.certPem };
  await symlink(at("int.pem"), at("crls.pem"));
  const writing = run(writeOutputs([output], "replace", [], [at("int.pem")]));
  assert.match(await refusal(() => writing), "crls.pem: the command reads it");
  const twice = run(writeOutputs([output, { ...output, path: at("int.pem") }], "replace"));
  assert.match(await refusal(() => twice), "two of the files have this name");
});

test.run();
