/**
 * A CA made with nothing but `openssl req -x509` and `openssl ca`, as a manual shows it: no CRL number file, no key usage in
 * its own certificate, no extended key usage in what it signs.
 *
 * @module
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parsePem } from "../../pki/pem.ts";
import { verifyPath } from "../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot, type Policy } from "../../pki/trust.ts";
import { needing } from "../support/prerequisites.ts";

const test = needing(suite("a CA made by openssl"), "openssl");
let folder = "";
test.after(() => rmSync(folder, { recursive: true, force: true }));

const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
const read = (file: string) => readFileSync(join(folder, file), "utf8");
const derOf = (pem: string) => Result.getOrThrow(parsePem(pem)).map(({ der }) => der);

test.before(() => {
  folder = mkdtempSync(join(tmpdir(), "hypha-openssl-ca-"));
  writeFileSync(
    join(folder, "ca.cnf"),
    `[req]\ndistinguished_name = dn\n[dn]\n[ca]\ndefault_ca = plain\n[plain]\ndatabase = index.txt\nserial = serial
new_certs_dir = .\ncertificate = ca.pem\nprivate_key = ca.key\ndefault_md = default\ndefault_days = 30
default_crl_days = 7\npolicy = any\n[any]\ncommonName = supplied
[root]\nbasicConstraints = critical, CA:TRUE\n`,
  );
  writeFileSync(join(folder, "index.txt"), "");
  writeFileSync(join(folder, "serial"), "01\n");
  const request = ["-newkey", "ed25519", "-nodes", "-config", "ca.cnf"];
  openssl(
    "req",
    "-x509",
    ...request,
    "-keyout",
    "ca.key",
    "-out",
    "ca.pem",
    "-subj",
    "/CN=plain",
    "-extensions",
    "root",
  );
  for (const node of ["good", "gone"]) {
    openssl("req", ...request, "-keyout", `${node}.key`, "-out", `${node}.csr`, "-subj", `/CN=${node}`);
    writeFileSync(join(folder, "node.ext"), `subjectAltName = DNS:${node}\n`);
    openssl(
      "ca",
      "-batch",
      "-notext",
      "-config",
      "ca.cnf",
      "-in",
      `${node}.csr`,
      "-out",
      `${node}.pem`,
      "-extfile",
      "node.ext",
    );
  }
  openssl("ca", "-config", "ca.cnf", "-revoke", "gone.pem", "-crl_reason", "keyCompromise");
  openssl("ca", "-config", "ca.cnf", "-gencrl", "-out", "crl.pem");
});

function evaluate(node: string, policy: Policy = defaultPolicy): string {
  const at = new Date(); // after the files were made: a list of the next second is not valid yet
  const trust = { trustPem: read("ca.pem"), crlsPem: read("crl.pem"), policy, generation: 1, at };
  const made = makeTrustSnapshot(trust);
  if (Result.isFailure(made)) return made.failure.message;
  const outcome = verifyPath(derOf(read(`${node}.pem`)), made.success.snapshot, { at });
  return Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;
}

test("makes lists without a number, which count", () => {
  assert.not.match(openssl("crl", "-in", "crl.pem", "-noout", "-text").toString(), "CRL Number");
  assert.is(evaluate("good"), "accepted");
  assert.is(evaluate("gone"), "certificate-revoked");
});

test("does not meet profile rfc5280", () => {
  assert.match(evaluate("good", { ...defaultPolicy, profile: "rfc5280" }), "no CRL number");
});

test.run();
