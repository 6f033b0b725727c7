/** Ceremonies by commands: two of three persons approve what a root signs. */
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { issueCsr, issueRoot } from "../../../pki/issue/mod.ts";
import { makeSigningKey } from "../../../pki/issue/signing_key.ts";
import { formatPem } from "../../../pki/pem.ts";
import { certutilHere, openssl, opensslOk } from "../../support/commands.ts";
import { needing } from "../../support/prerequisites.ts";

const test = needing(suite("hypha-certutil execute"), "openssl");
const names = ["alice", "bob", "carol", "dave"] as const;
const ca = ["--ca-cert", "root.pem"];
const root = [...ca, "--ca-key", "root.key"];
const intermediate = [...ca, "--csr", "int.csr", "--common-name", "Acme CA", "--out", "request.json"];
const approversOf = (...of: readonly string[]) => of.flatMap((name) => ["--approver", `${name}=${name}.pub.pem`]);
let dir = "";
const at = (name: string) => join(dir, name);

test.before.each(async () => {
  dir = await mkdtemp(join(tmpdir(), "hypha-approvals-"));
  for (const [index, name] of names.entries()) {
    const { keyPem, spki } = await makeSigningKey(index === 1 ? "ecdsa-p256" : "ed25519");
    await writeFile(at(`${name}.key`), keyPem, { mode: 0o600 });
    await writeFile(at(`${name}.pub.pem`), formatPem("PUBLIC KEY", spki));
  }
  const now = Date.now();
  const period = { notBefore: new Date(now - 86_400_000), notAfter: new Date(now + 900 * 86_400_000) };
  const made = await issueRoot({ commonName: "Acme Root", ...period });
  await writeFile(at("root.pem"), made.certPem);
  await writeFile(at("root.key"), made.keyPem, { mode: 0o600 });
  const csr = await issueCsr({ commonName: "wish" });
  await writeFile(at("int.csr"), csr.csrPem);
  await writeFile(at("int.key"), csr.keyPem, { mode: 0o600 });
  await done("approvers", ...ca, ...approversOf("alice", "bob", "carol"), "--threshold", "2");
});
test.after.each(() => rm(dir, { recursive: true, force: true }));

async function done(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await certutilHere(dir, ...args);
  assert.is(code, 0, `${args.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}

async function refused(why: RegExp, ...args: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await certutilHere(dir, ...args);
  assert.is(code, 1, `${args.join(" ")}: ${stdout}${stderr}`);
  assert.match(stdout + stderr, why);
}

const approve = (name: string, request = "request.json") =>
  done("approve", request, "--key", `${name}.key`, "--out", `${name}.json`, "--force");

const read = (name: string) => readFile(at(name), "utf8");
const outCert = ["--out-cert", "int.pem"];

test("two of three issue an intermediate, once; OpenSSL accepts it, and another machine verifies the approvals", async () => {
  await done("request", "issue-intermediate", ...intermediate);
  const shown = await approve("carol");
  assert.match(shown, /subject +CN=Acme CA\n/);
  await refused(/approvals-missing/, "execute", "request.json", "carol.json", ...root, ...outCert);
  await approve("bob");
  const files = ["bob.json", "carol.json", "request.json"];
  assert.match(
    await done("verify-approvals", ...files, "--policy", "root.pem.approvers.json", ...ca),
    /^approved by bob, carol\n/,
  );
  assert.match(
    await done("execute", ...files, ...root, ...outCert),
    /approved by bob, carol\nwrote root.pem.approved.tsv\nwrote int.pem\n/,
  );
  await opensslOk(dir, "verify", "-CAfile", "root.pem", "int.pem");
  assert.match(await read("root.pem.issued.tsv"), /CN=Acme CA/);
  assert.match(await read("root.pem.approved.tsv"), /\tissue-intermediate\t[0-9a-f]{64}\tbob,carol\n$/);
  await refused(/approval-replayed/, "execute", ...files, ...root, "--out-cert", "again.pem");
  const revocations = ["gen-crl", "--ca-cert", "int.pem", "--ca-key", "int.key", "--out-crl", "int.crl"];
  await refused(/neither the CA's record/, ...revocations);
  assert.match(await done(...revocations, "--first"), "list 1 of CN=Acme CA");
  // The intermediate signs: its key is the one of the request.
  const leaf = ["--out-cert", "leaf.pem", "--out-key", "leaf.key", "--common-name", "worker-01"];
  await done("gen-cert", "--ca-cert", "int.pem", "--ca-key", "int.key", ...leaf);
  await opensslOk(dir, "verify", "-CAfile", "root.pem", "-untrusted", "int.pem", "leaf.pem");
});

test("two of three revoke the intermediate; without approvals the root does neither", async () => {
  await refused(
    /2 of 3 persons must approve/,
    "gen-intermediate-ca",
    ...root,
    "--common-name",
    "x",
    ...outCert,
    "--out-key",
    "x.key",
  );
  await done("request", "issue-intermediate", ...intermediate);
  await Promise.all([approve("alice"), approve("bob")]);
  await done("execute", "request.json", "alice.json", "bob.json", ...root, ...outCert);
  const list = ["--cert", "int.pem", "--out-crl", "crls.pem", "--first"];
  await refused(/2 of 3 persons must approve/, "revoke", ...root, ...list);
  await done(
    "request",
    "revoke-ca",
    ...ca,
    "--cert",
    "int.pem",
    "--reason",
    "cACompromise",
    "--out",
    "request.json",
    "--force",
  );
  await refused(
    /approval-other-request/,
    "execute",
    "request.json",
    "alice.json",
    "bob.json",
    ...root,
    "--out-crl",
    "crls.pem",
  );
  await Promise.all([approve("alice"), approve("bob")]);
  await refused(/--out-crl is missing/, "execute", "request.json", "alice.json", "bob.json", ...root);
  await done("execute", "request.json", "alice.json", "bob.json", ...root, "--out-crl", "crls.pem", "--first");
  assert.match(await read("root.pem.revoked.tsv"), /\tcACompromise\tCN=Acme CA\n/);
  const check = await openssl(dir, "verify", "-CAfile", "root.pem", "-crl_check", "-CRLfile", "crls.pem", "int.pem");
  assert.match(check.stdout + check.stderr, /certificate revoked/);
});

test("the present approvers change the approvers; an approver who was removed counts no more", async () => {
  await done("request", "issue-intermediate", ...intermediate);
  await Promise.all([approve("alice"), approve("bob")]);
  const others = [...approversOf("bob", "carol", "dave"), "--threshold", "2"];
  await done("request", "change-approvers", ...ca, ...others, "--out", "change.json");
  await done("approve", "change.json", "--key", "alice.key", "--out", "c1.json");
  await done("approve", "change.json", "--key", "dave.key", "--out", "c2.json");
  await refused(/approval-unlisted/, "execute", "change.json", "c1.json", "c2.json", ...ca);
  await done("approve", "change.json", "--key", "carol.key", "--out", "c2.json", "--force");
  await done("execute", "change.json", "c1.json", "c2.json", ...ca);
  await refused(/approval-other-policy/, "execute", "request.json", "alice.json", "bob.json", ...root, ...outCert);
  await done("request", "issue-intermediate", ...intermediate, "--force");
  await Promise.all([approve("alice"), approve("bob"), approve("dave")]);
  await refused(/approval-unlisted/, "execute", "request.json", "alice.json", "bob.json", ...root, ...outCert);
  await done("execute", "request.json", "dave.json", "bob.json", ...root, ...outCert);
});

test("refuses when the record or the policy was removed or changed, and makes no second first policy", async () => {
  await done("request", "issue-intermediate", ...intermediate);
  await Promise.all([approve("alice"), approve("bob")]);
  const execute = ["execute", "request.json", "alice.json", "bob.json", ...root, ...outCert];
  const record = await read("root.pem.approved.tsv");
  await rm(at("root.pem.approved.tsv"));
  await refused(/there is no such file/, ...execute);
  await writeFile(at("root.pem.approved.tsv"), record.replace(/authority\t./, "authority\tx"));
  await refused(/belongs to another CA/, ...execute);
  await writeFile(at("root.pem.approved.tsv"), record);
  const policy = await read("root.pem.approvers.json");
  await writeFile(at("root.pem.approvers.json"), policy.replace('"threshold":2', '"threshold":1'));
  await refused(/approval-other-policy/, ...execute);
  await rm(at("root.pem.approvers.json"));
  const make = ["gen-intermediate-ca", ...root, "--common-name", "x", ...outCert, "--out-key", "x.key"];
  await refused(/policy .* is not/, ...make);
  await refused(/it is there/, "approvers", ...ca, ...approversOf("alice"), "--threshold", "1");
  await writeFile(at("root.pem.approvers.json"), policy);
  await done(...execute);
});

test("bug: behind a symbolic link to the CA's certificate, nothing waited for approvals", async () => {
  await symlink("root.pem", at("link.pem"));
  const linked = ["--ca-cert", "link.pem", "--ca-key", "root.key"];
  const make = ["gen-intermediate-ca", ...linked, "--common-name", "x", ...outCert, "--out-key", "x.key"];
  await refused(/2 of 3 persons must approve/, ...make);
  await done("request", "issue-intermediate", "--ca-cert", "link.pem", ...intermediate.slice(2));
  await Promise.all([approve("alice"), approve("bob")]);
  await done("execute", "request.json", "alice.json", "bob.json", ...linked, ...outCert);
  assert.match(await read("root.pem.approved.tsv"), /\tissue-intermediate\t/);
  await rename(at("root.pem.approvers.json"), at("link.pem.approvers.json"));
  await rm(at("root.pem.approved.tsv"));
  await refused(/link\.pem\.approvers\.json is there, and the policy .*root\.pem\.approvers\.json is not/, ...make);
});

test("makes no request that would not be executed, and approves none with half of the flags", async () => {
  await refused(/25 is out of range/, "request", "issue-intermediate", ...intermediate, "--hours", "25");
  await done("request", "issue-intermediate", ...intermediate);
  assert.match(await done("approve", "request.json"), /^issue-intermediate: sign the certificate of a CA\n/);
  await refused(/--out is missing/, "approve", "request.json", "--key", "alice.key");
  await refused(/--key is missing/, "approve", "request.json", "--out", "alice.json");
  await opensslOk(dir, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", "p384.key");
  await refused(/P-384 is not one of/, "approve", "request.json", "--key", "p384.key", "--out", "alice.json");
  const cut = (await read("request.json")).replace("expires", "expired");
  await writeFile(at("cut.json"), cut);
  await refused(/approval-request-malformed/, "approve", "cut.json", "--key", "alice.key", "--out", "alice.json");
  await refused(/there are 2 requests/, "execute", "request.json", "request.json", ...root, ...outCert);
  await refused(/is not NAME=FILE/, "approvers", ...ca, "--approver", "alice", "--threshold", "1");
});

test("bug: an approver signed a request that ends in two days, which the next day would have executed", async () => {
  await done("request", "issue-intermediate", ...intermediate);
  const later = new Date(Date.now() + 2 * 86_400_000).toISOString().replace(/\.\d+/, "");
  const line = (await read("request.json")).replace(/"expires":"[^"]*"/, `"expires":"${later}"`);
  assert.match(line, later);
  await writeFile(at("request.json"), line);
  await refused(/in over a day/, "approve", "request.json", "--key", "alice.key", "--out", "alice.json");
  assert.not(existsSync(at("alice.json")));
});

test("bug: one person signed node certificates with a root whose CAs wait for approvals, with the role ca too", async () => {
  const sign = ["sign", ...root, "--csr", "int.csr", "--common-name", "w-01", "--out-cert", "w.pem"];
  const refusal = /Cannot sign a node certificate with .*2 of 3 persons must approve/;
  await refused(refusal, ...sign, "--role", "worker", "--domain", "acme.example");
  await refused(refusal, ...sign, "--san", "URI:spiffe://acme.example/ca/ca-01");
  await refused(refusal, "gen-cert", ...root, "--common-name", "w-01", "--out-cert", "w.pem", "--out-key", "w.key");
  await refused(refusal, "node", ...root, "--name", "w");
  for (const name of ["w.pem", "w.key", "w-cert.pem"]) assert.not(existsSync(at(name)), name);
});

test.run();
