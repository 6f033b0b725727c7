/**
 * smallstep's step-ca as the CA of a network: nodes run with certificates that it issues, its own daemon renews them, its revocation list is
 * taken. `HYPHA_STEP_CA=DIR` names the folder of `step-ca` and `step`:
 *
 *     GOBIN=DIR CGO_ENABLED=0 go install github.com/smallstep/certificates/cmd/step-ca@v0.30.2 github.com/smallstep/cli/cmd/step@v0.21.0
 *
 * Without it, files that step-ca made are verified.
 */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatPem } from "../../pki/pem.ts";
import { certutilHere } from "../support/commands.ts";
import { ask } from "../support/https_client.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { type LoggedEvent, type Running, startCommand, startProgram } from "../support/program.ts";

const test = suite("step-ca");
const tools = process.env["HYPHA_STEP_CA"];
const folder = mkdtempSync(join(tmpdir(), "hypha-step-"));
const running: Running[] = [];
test.after(() => {
  for (const each of running) each.signal("SIGKILL");
  process.chdir("/");
  rmSync(folder, { recursive: true });
});

async function certutil(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await certutilHere(folder, ...args);
  assert.is(code, 0, `${stdout}${stderr}`);
  return stdout;
}

test("a certificate that it issued is accepted until its revocation list revokes it", async () => {
  const files = fileURLToPath(new URL("../fixtures/step_ca", import.meta.url));
  const at = ["--at", readFileSync(join(files, "at"), "utf8").trim()];
  const verify = (...more: readonly string[]) =>
    certutilHere(files, "verify", "--trust", "trust.pem", ...at, ...more, "cert.pem", "--json");
  assert.is(JSON.parse((await verify()).stdout).code, null);
  assert.is(JSON.parse((await verify("--crls", "crls-before.pem")).stdout).code, null);
  assert.is(JSON.parse((await verify("--crls", "crls.pem")).stdout).code, "certificate-revoked");
});

/** A running step-ca below a root of ours. */
class StepCa {
  readonly url: string;

  private constructor(port: number) {
    this.url = `https://127.0.0.1:${port}`;
  }

  static async start(): Promise<StepCa> {
    const port = await freePort();
    await certutil("gen-ca", "--out-cert", "root.pem", "--out-key", "root.key", "--common-name", "Root");
    const names = ["--ca-cert", "root.pem", "--ca-key", "root.key", "--common-name", "Issuing"];
    await certutil("gen-intermediate-ca", ...names, "--out-cert", "ca.pem", "--out-key", "ca.key");
    await certutil("bundle", "ca.pem", "root.pem", "--out", "trust.pem");
    writeFileSync(join(folder, "password"), "secret");
    const curve = ["--kty", "EC", "--crv", "P-256", "--password-file", "password"];
    await step("crypto", "jwk", "create", "provisioner.pub", "provisioner.key", ...curve);
    const read = (name: string) => JSON.parse(readFileSync(join(folder, name), "utf8"));
    const key = read("provisioner.key");
    const parts = ["protected", "encrypted_key", "iv", "ciphertext", "tag"].map((part) => key[part]);
    const provisioner = { type: "JWK", name: "operator", key: read("provisioner.pub"), encryptedKey: parts.join(".") };
    const path = (name: string) => join(folder, name);
    // Its list names a distribution point, and counts for certificates that name the same one (RFC 5280 §6.3.3).
    const point = `https://127.0.0.1:${port}/1.0/crl`;
    const template = `{
      "subject": {{ toJson .Subject }}, "sans": {{ toJson .SANs }}, "keyUsage": ["digitalSignature"],
      "extKeyUsage": ["serverAuth", "clientAuth"], "crlDistributionPoints": ["${point}"]
    }`;
    const config = {
      ...{ root: path("root.pem"), crt: path("ca.pem"), key: path("ca.key") },
      ...{ address: `127.0.0.1:${port}`, dnsNames: ["127.0.0.1"] },
      db: { type: "badgerv2", dataSource: path("db") },
      crl: { enabled: true, generateOnRevoke: true, cacheDuration: "24h", idpURL: point },
      authority: { provisioners: [{ ...provisioner, options: { x509: { template } } }] },
    };
    writeFileSync(path("step-ca.json"), JSON.stringify(config));
    running.push(startCommand(join(tools ?? "", "step-ca"), ["step-ca.json"], { cwd: folder, lifeMs: 120_000 }));
    const ca = new StepCa(port);
    const deadline = performance.now() + 20_000;
    while (!(await ask(`${ca.url}/health`).then(({ status }) => status === 200, () => false))) {
      assert.ok(performance.now() < deadline, "step-ca does not answer");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return ca;
  }

  /** How the client reaches it. */
  get flags(): readonly string[] {
    return ["--ca-url", this.url, "--root", "root.pem"];
  }

  /** Issues a certificate with a role; its files are NAME.pem and NAME.key. */
  issue(role: string, name: string): Promise<string> {
    const san = ["--san", `spiffe://acme.example/${role}/${name}`, "--san", name];
    const more = ["--provisioner", "operator", "--provisioner-password-file", "password", "--not-after", "10m"];
    const key = ["--kty", "OKP", "--crv", "Ed25519"];
    return step("ca", "certificate", name, `${name}.pem`, `${name}.key`, ...san, ...key, ...this.flags, ...more);
  }

  /** Its revocation list of now, with the root's. */
  async lists(): Promise<string> {
    const { status, body } = await ask(`${this.url}/1.0/crl`);
    assert.is(status, 200);
    return `${readFileSync(join(folder, "root-list.pem"), "utf8")}${formatPem("X509 CRL", Uint8Array.from(body))}`;
  }
}

async function step(...args: readonly string[]): Promise<string> {
  const ran = startCommand(join(tools ?? "", "step"), args, { cwd: folder, env: { STEPPATH: join(folder, ".step") } });
  const { code, stdout, stderr } = await ran.ended;
  assert.is(code, 0, `step ${args.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}

/** Starts a node with the files of its name. */
function node(role: "gateway" | "data", name: string, lines: readonly string[]): Running {
  const files = [
    `cert_pem = "${name}.pem"`,
    `key_pem = "${name}.key"`,
    'trust_pem = "trust.pem"',
    'crls_pem = "crls.pem"',
  ];
  writeFileSync(
    join(folder, `${name}.toml`),
    [...files, "require_roles = true", "exclude_cidr = []", ...lines].join("\n"),
  );
  const made = startProgram(role, ["run", "-c", `${name}.toml`, "--log-format", "json"], {
    cwd: folder,
    lifeMs: 120_000,
  });
  running.push(made);
  return made;
}

/** Writes a file aside and renames it. */
function put(name: string, text: string): void {
  writeFileSync(join(folder, `${name}.new`), text);
  renameSync(join(folder, `${name}.new`), join(folder, name));
}

if (tools !== undefined) {
  test("nodes run with its certificates, its daemon renews them, and its revocation list closes connections", async () => {
    const ca = await StepCa.start();
    const signer = ["--ca-cert", "root.pem", "--ca-key", "root.key"];
    await certutil("gen-crl", ...signer, "--out-crl", "root-list.pem");
    await ca.issue("gateway", "gateway-01");
    await ca.issue("data", "data-01");
    put("crls.pem", await ca.lists());
    const port = await freePort();
    const address = `/ip4/127.0.0.1/tcp/${port}`;
    const gateway = node("gateway", "gateway-01", [
      `listen_addresses = ["${address}"]`,
      `external_addresses = ["${address}"]`,
    ]);
    await gateway.waitFor("node.ready");
    mkdirSync(join(folder, "rows"));
    writeFileSync(join(folder, "rows", "0"), "0");
    const lines = [
      'listen_addresses = ["/ip4/127.0.0.1/tcp/0"]',
      `gateway_addresses = ["${address}"]`,
      `dataset_path = "${folder}/rows"`,
    ];
    const data = node("data", "data-01", lines);
    await data.waitFor("node.ready");
    copyFileSync(join(folder, "data-01.pem"), join(folder, "first.pem"));
    const daemon = ["ca", "renew", "--daemon", "--renew-period", "5s", "data-01.pem", "data-01.key", ...ca.flags];
    running.push(
      startCommand(join(tools, "step"), [...daemon, "--force"], {
        cwd: folder,
        env: { STEPPATH: join(folder, ".step") },
      }),
    );
    const isSame = ({ key }: LoggedEvent) => key === "same";
    await data.waitFor("identity.renewed", isSame);
    running.at(-1)?.signal("SIGKILL");
    assert.not(data.events.some(({ event }) => event === "identity.broken"));
    // The gateway knows the first one from the handshake: both are valid until their end.
    for (const cert of ["first.pem", "data-01.pem"]) {
      await step("ca", "revoke", "--cert", cert, "--key", "data-01.key", ...ca.flags);
    }
    put("crls.pem", await ca.lists());
    const isRevoked = ({ code }: LoggedEvent) => code === "certificate-revoked";
    await Promise.all([data.waitFor("identity.refused", isRevoked), gateway.waitFor("peer.refused", isRevoked)]);
    data.signal("SIGKILL");
    const again = node("data", "data-01", lines);
    assert.match((await again.waitFor("node.failed")).message, "(certificate-revoked)");
    assert.is((await again.ended).code, 1);
    gateway.signal("SIGTERM");
    assert.is((await gateway.ended).code, 0);
  });
}

test.run();
