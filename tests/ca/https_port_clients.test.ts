/** Programs that others wrote enrol and renew: curl with openssl, and strongSwan's `pki --est`. */
import { Buffer } from "node:buffer";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { opensslOk } from "../support/commands.ts";
import { testCaPort } from "../support/ca_port.ts";
import { needing } from "../support/prerequisites.ts";

const curl = needing(suite("the CA's port and curl with openssl"), "curl", "openssl");
const swan = needing(suite("the CA's port and strongSwan"), "pki", "pki-curl", "pki-openssl", "openssl");
let folder = "";
const file = (name: string) => join(folder, name);
for (const test of [curl, swan]) {
  test.before.each(() => {
    folder = mkdtempSync(join(tmpdir(), "hypha-clients-"));
  });
  test.after.each(() => rmSync(folder, { recursive: true }));
}

/** Runs a program to its end, with bytes for its input; what it wrote. */
function run(program: string, args: readonly string[], input: string | Uint8Array = "", env = {}): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const options = { cwd: folder, timeout: 30_000, encoding: "buffer", env: { ...process.env, ...env } } as const;
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${program} ended with ${error.code}: ${stderr.toString()}`));
    });
    child.stdin?.on("error", () => {});
    child.stdin?.end(input);
  });
}

curl("curl enrols with a token and renews with its certificate; openssl reads and verifies what it gets", async () => {
  const world = await testCaPort();
  writeFileSync(file("root.pem"), world.root.certPem);
  const est = `${world.url}/.well-known/est`;
  const http = (...args: readonly string[]) =>
    run("curl", ["-sS", "--fail-with-body", "--cacert", "root.pem", ...args]);
  const take = async (name: string, body: Buffer) => {
    writeFileSync(file(`${name}.p7`), Buffer.from(body.toString(), "base64"));
    await opensslOk(folder, "pkcs7", "-inform", "DER", "-in", `${name}.p7`, "-print_certs", "-out", `${name}.pem`);
  };
  await take("cacerts", await http(`${est}/cacerts`));
  await opensslOk(folder, "genpkey", "-algorithm", "ed25519", "-out", "key.pem");
  await opensslOk(folder, "req", "-new", "-key", "key.pem", "-subj", "/", "-outform", "DER", "-out", "csr.der");
  // With line breaks, as `base64` writes it.
  await opensslOk(folder, "base64", "-in", "csr.der", "-out", "csr.txt");
  const token = await world.token("worker-01");
  const post = ["--data-binary", "@csr.txt", "-H", "content-type: application/pkcs10"];
  await take("leaf", await http("-u", `worker-01:${token}`, ...post, `${est}/simpleenroll`));
  const verified = ["verify", "-CAfile", "root.pem", "-untrusted", "cacerts.pem"];
  assert.match(await opensslOk(folder, ...verified, "leaf.pem"), /leaf\.pem: OK/);
  await take("next", await http("--cert", "leaf.pem", "--key", "key.pem", ...post, `${est}/simplereenroll`));
  assert.match(await opensslOk(folder, ...verified, "next.pem"), /next\.pem: OK/);
  const names = await opensslOk(folder, "x509", "-in", "next.pem", "-noout", "-ext", "subjectAltName");
  assert.match(names, /URI:spiffe:\/\/acme\.example\/worker\/worker-01/);
  writeFileSync(file("list.der"), await http(`${world.url}/crl/${world.ca.issuerId}.crl`));
  writeFileSync(file("ca.pem"), world.intermediate.certPem);
  const list = ["crl", "-inform", "DER", "-in", "list.der", "-CAfile", "ca.pem", "-noout"];
  assert.match(await opensslOk(folder, ...list), /verify OK/);
  await world.stop();
});

swan("strongSwan fetches the CA's certificates, enrols and renews", async () => {
  const world = await testCaPort();
  writeFileSync(file("root.pem"), world.root.certPem);
  writeFileSync(file("ca.pem"), world.intermediate.certPem);
  writeFileSync(file("swan.conf"), "libtls { version_max = 1.3 }\n");
  const env = { STRONGSWAN_CONF: file("swan.conf") };
  const ca = ["--url", world.url, "--cacert", "root.pem", "--cacert", "ca.pem"];
  await opensslOk(folder, "genpkey", "-algorithm", "ed25519", "-out", "key.pem");
  const request = ["--req", "--type", "priv", "--in", "key.pem", "--dn", "CN=worker-01", "--outform", "der"];
  const csr = await run("pki", request, "", env);
  const token = await world.token("worker-01");
  const user = ["--userpass", `worker-01:${token}`];
  writeFileSync(file("leaf.der"), await run("pki", ["--est", ...ca, ...user, "--outform", "der"], csr, env));
  await opensslOk(folder, "x509", "-inform", "DER", "-in", "leaf.der", "-out", "leaf.pem");
  const own = ["--cert", "leaf.pem", "--key", "key.pem"];
  const next = await run("pki", ["--est", ...ca, ...own, "--outform", "der"], csr, env);
  writeFileSync(file("next.der"), next);
  const subject = await opensslOk(folder, "x509", "-inform", "DER", "-in", "next.der", "-noout", "-subject");
  assert.match(subject, /worker-01/);
  assert.not.equal(readFileSync(file("leaf.der")), next);
  await run(
    "pki",
    [
      "--estca",
      "--url",
      world.url,
      "--cacert",
      "root.pem",
      "--cacert",
      "ca.pem",
      "--caout",
      "got",
      "--outform",
      "pem",
      "--force",
    ],
    "",
    env,
  );
  await world.stop();
});

curl.run();
swan.run();
