/** The doctor on a node's own certificate under its own trust and lists, for every role. */
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import { Effect, Result } from "effect";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Diagnosis, examine } from "../../../actors/certutil/doctor.ts";
import { keptPath } from "../../../actors/files/state_directory.ts";
import { parseCertificate, type Role } from "../../../pki/certificate.ts";
import { markKey, ownDomain } from "../../../pki/crl_marks.ts";
import { parsePem } from "../../../pki/pem.ts";
import { diagnosisLines } from "../../../scripts/certutil/look_lines.ts";
import { makeTestPki } from "../../support/pki.ts";

const test = suite("examine() and the own certificate");
const pki = await makeTestPki();
const partner = await makeTestPki({ organization: "Partner" });
const node = await pki.node("node-1", { role: "gateway" });
const unnamed = await pki.node("node-2");
let dir = "";
const at = (name: string) => join(dir, name);
test.before.each(async () => {
  dir = await mkdtemp(join(tmpdir(), "hypha-doctor-own-"));
});
test.after.each(() => rm(dir, { recursive: true, force: true }));

const gateways = 'gateway_addresses = ["/dns4/gateway.example/tcp/4001"]\n';
const roles: Readonly<Record<Role, string>> = {
  gateway: 'external_addresses = ["/dns4/gateway.example/tcp/4001"]\n',
  data: `${gateways}dataset_path = "tests"\n`,
  worker: `${gateways}work_dir = "work"
[resources]\ncpu = 4\nmemory = 8\nstorage = 10\ngpu = 0
[offer]\nprice = 1.0\nfloor = 0.0\n[offer.strategy]\ntype = "flexible"
[[executors]]\nclass = "aggregate"\nname = "parameter-server"\nruntime = "parameter-server"\n`,
  scheduler: `${gateways}[scheduler.job]\ntype = "diloco"
[scheduler.job.model]\nrepository = "acme/model"\nfilenames = ["model.safetensors"]\ntype = "image-classification"
input_names = ["pixel_values"]
[scheduler.job.dataset]\ndataset = "digits"
[scheduler.job.inner_optimizer]\nlearning-rate = 0.001
[scheduler.job.outer_optimizer]\nlearning-rate = 0.001\nmomentum = 0.9
[scheduler.job.resources]\nnum_workers = 2
[scheduler.job.resources.worker]\ncpu = 1.0\nmemory = 1.0\nstorage = 1.0\ngpu = 0.0
[scheduler.job.resources.parameter_server]\ncpu = 1.0\nmemory = 1.0\nstorage = 1.0\ngpu = 0.0
[scheduler.job.resources.worker_price]\nbid = 1.0\nmax = 2.0
[scheduler.job.resources.parameter_server_price]\nbid = 1.0\nmax = 2.0
[scheduler.job.rounds]\nupdate_rounds = 10\navg_samples_between_updates = 1200\n`,
};

interface Files {
  readonly role?: Role;
  readonly cert?: string | Uint8Array;
  readonly key?: string | Uint8Array;
  readonly trust?: string | Uint8Array;
  /** Null where none is configured. */
  readonly crls?: string | Uint8Array | null;
  readonly domain?: string;
}

async function diagnose(files: Files = {}): Promise<Diagnosis> {
  const { role = "gateway", cert = node.chainPem, key = node.keyPem, trust = pki.trustPem, domain = "" } = files;
  const { crls = await pki.crls() } = files;
  await writeFile(at("cert.pem"), cert);
  await writeFile(at("key.pem"), key, { mode: 0o600 });
  await writeFile(at("trust.pem"), trust);
  if (crls !== null) await writeFile(at("crls.pem"), crls);
  const names = ["cert", "key", "trust", ...crls === null ? [] : ["crls"]];
  const lines = names.map((name) => `${name}_pem = ${JSON.stringify(at(`${name}.pem`))}`);
  lines.push('listen_addresses = ["/ip4/127.0.0.1/tcp/4001"]', roles[role], domain);
  await writeFile(at("config.toml"), lines.join("\n"));
  return await Effect.runPromise(Effect.provide(examine({ config: at("config.toml") }), NodeFileSystem.layer));
}

const found = (diagnosis: Diagnosis, level: "warning" | "error") =>
  diagnosis.findings.filter((finding) => finding.level === level);
const derOf = (pem: string) => Result.getOrThrow(parsePem(pem))[0]!.der;

for (const role of ["gateway", "scheduler", "worker", "data"] as const) {
  test(`warns a ${role} without crls_pem, as its start does, and does not say that nothing is wrong`, async () => {
    const diagnosis = await diagnose({ role, cert: unnamed.chainPem, key: unnamed.keyPem, crls: null });
    assert.equal([diagnosis.ok, diagnosis.role, found(diagnosis, "error")], [true, role, []]);
    const [warning, ...others] = found(diagnosis, "warning");
    assert.equal(others, []);
    assert.is(warning?.check, "revocation");
    assert.match(warning?.detail ?? "", "crls_pem is not configured: revoked certificates are accepted");
    assert.match(warning?.mend ?? "", /hypha-certutil gen-crl .*; then set crls_pem$/);
    assert.match(diagnosisLines(diagnosis).at(-1)!, new RegExp(`^no error, 1 warning \\(${role}, 12D3`));
    const verification = diagnosis.findings.find(({ check }) => check === "verification");
    assert.match(verification?.detail ?? "", "(revocation is not checked)");
  });
}

test("finds nothing wrong with lists, of all roles", async () => {
  for (const role of ["gateway", "scheduler", "worker", "data"] as const) {
    const diagnosis = await diagnose({ role, cert: unnamed.chainPem, key: unnamed.keyPem });
    assert.equal([found(diagnosis, "error"), found(diagnosis, "warning")], [[], []]);
    assert.match(diagnosisLines(diagnosis).at(-1)!, new RegExp(`^nothing is wrong \\(${role}, 12D3`));
  }
});

test("finds that the own certificate is revoked", async () => {
  const diagnosis = await diagnose({ crls: await pki.crls({ revoked: [node] }) });
  assert.not.ok(diagnosis.ok);
  assert.match(found(diagnosis, "error")[0]?.detail ?? "", /^certificate-revoked: /);
});

/** Diagnoses a member whose state directory has this list of the intermediate CA, and no other file. */
async function diagnoseMember(list: string | Uint8Array, crls: "optional" | "required" = "optional") {
  const key = markKey(Result.getOrThrow(parseCertificate(pki.intermediate.der)));
  const kept = keptPath(at("state"), { domain: ownDomain, key, scope: "all", kind: "complete" });
  await mkdir(dirname(kept), { recursive: true });
  await writeFile(kept, typeof list === "string" ? derOf(list) : list);
  const membership = `[membership]\nca = ["https://ca.example"]\ncrls = "${crls}"\n`;
  const trust = pki.intermediate.certPem + pki.trustPem;
  return await diagnose({ trust, crls: null, domain: `state_dir = ${JSON.stringify(at("state"))}\n${membership}` });
}

test("bug: a certificate that a list in the state directory revokes was accepted", async () => {
  for (const crls of ["optional", "required"] as const) {
    const diagnosis = await diagnoseMember(await pki.crl(pki.intermediate, { revoked: [node] }), crls);
    assert.not.ok(diagnosis.ok);
    const [error] = found(diagnosis, "error");
    assert.is(error?.check, "verification");
    assert.match(error?.detail ?? "", /^certificate-revoked: /);
    assert.match(error?.mend ?? "", "hypha-ca token --replace");
  }
});

test("bug: revocation was called unchecked where the state directory has lists", async () => {
  const diagnosis = await diagnoseMember(await pki.crl(pki.intermediate));
  assert.equal([found(diagnosis, "error"), found(diagnosis, "warning")], [[], []]);
  const verification = diagnosis.findings.find(({ check }) => check === "verification");
  assert.not.match(verification?.detail ?? "", "(revocation is not checked)");
});

test("a list that is required and torn is fetched after the start: a warning, and no file is changed", async () => {
  const diagnosis = await diagnoseMember(new Uint8Array([1]), "required");
  assert.equal(found(diagnosis, "error"), []);
  const verification = diagnosis.findings.find(({ check }) => check === "verification");
  assert.match(verification?.detail ?? "", /^revocation-unknown: /);
  assert.match(verification?.mend ?? "", "start the node, which fetches the newest");
  assert.equal(await readdir(at("state")), ["crls"]);
  assert.equal((await readdir(at("state/crls/@own"))).length, 1);
});

test("finds that a CA has no list, which refuses whom it certified", async () => {
  const diagnosis = await diagnose({ crls: await pki.crl(pki.intermediate) });
  assert.match(found(diagnosis, "warning").map(({ detail }) => detail).join(), "no list of CN=Test Root CA, O=Test");
  assert.match(found(diagnosis, "error")[0]?.detail ?? "", /^revocation-unknown: /);
});

test("finds that the certificate is for another role than the configuration", async () => {
  const diagnosis = await diagnose({ role: "worker" });
  const [error] = found(diagnosis, "error");
  assert.is(error?.check, "certificate-role");
  assert.match(error?.detail ?? "", "it grants the role gateway, and the configuration is a worker's");
  assert.match(error?.mend ?? "", /^hypha-certutil sign --role worker /);
});

test("bug: a member of another role was to be certified by hand", async () => {
  const diagnosis = await diagnose({ role: "worker", domain: '[membership]\nca = ["https://ca.example"]\n' });
  const error = found(diagnosis, "error").find(({ check }) => check === "certificate-role");
  assert.match(error?.mend ?? "", /^hypha-ca token --role worker --replace /);
});

test("warns of a trust domain without lists, by its name", async () => {
  await writeFile(at("partner.pem"), partner.trustPem);
  const domain = `[[trust_domains]]\nname = "partner.example"\ntrust_pem = ${JSON.stringify(at("partner.pem"))}\n`;
  const warnings = found(await diagnose({ domain }), "warning");
  assert.equal(warnings.map(({ check }) => check), ["trust-domain"]);
  assert.match(warnings[0]!.detail, /^partner\.example: it has no crls_pem/);
  assert.match(warnings[0]!.mend ?? "", "set crls_pem");
});

test("reads lists in DER, as the node does", async () => {
  const diagnosis = await diagnose({
    crls: new Uint8Array([...derOf(await pki.crl(pki.root)), ...derOf(await pki.crl(pki.intermediate))]),
  });
  assert.equal([found(diagnosis, "error"), found(diagnosis, "warning")], [[], []]);
});

const inDer: [what: string, files: () => Files][] = [
  ["a key", () => ({ key: derOf(node.keyPem) })],
  ["a certificate", () => ({ cert: node.der, trust: pki.intermediate.certPem + pki.trustPem })],
  // The root alone: the chain brings its intermediate.
  ["a bundle", () => ({ trust: pki.root.der })],
];
for (const [what, files] of inDer) {
  test(`takes ${what} in DER, as the node does`, async () => {
    assert.equal(found(await diagnose(files()), "error"), []);
  });
}

test("finds what keeps the node from loading its files, and nothing else does", async () => {
  const padding = `# ${"x".repeat(1022)}\n`.repeat(1024);
  const errors = found(await diagnose({ cert: node.chainPem + padding }), "error");
  assert.equal(errors.map(({ check }) => check), ["start"]);
  assert.match(errors[0]!.file ?? "", /cert\.pem$/);
});

test("says of another file that it is no configuration", async () => {
  await writeFile(at("cert.pem"), node.certPem);
  const examined = Effect.flip(examine({ config: at("cert.pem") }));
  const error = await Effect.runPromise(Effect.provide(examined, NodeFileSystem.layer));
  assert.match(error.message, "it holds a node's certificate, not a configuration. Name the node's configuration");
});

test.run();
