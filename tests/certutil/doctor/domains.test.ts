/** What the doctor finds in the files of other trust domains. */
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import { Effect, Result } from "effect";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { examine } from "../../../actors/certutil/doctor.ts";
import { bundlePath } from "../../../actors/files/state_directory.ts";
import { parseCertificate } from "../../../pki/certificate.ts";
import { markKey } from "../../../pki/crl_marks.ts";
import { formatSpiffeBundle } from "../../../pki/spiffe_bundle.ts";
import { makeTestPki } from "../../support/pki.ts";

const test = suite("examine() and trust domains");
const pki = await makeTestPki();
const partner = await makeTestPki({ organization: "Partner" });
const node = await pki.node("node-1", { role: "gateway" });
const dayMs = 86_400_000;
const inDays = (days: number) => new Date(Date.now() + days * dayMs);
let dir = "";
const at = (name: string) => join(dir, name);
test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), "hypha-doctor-domains-"));
});
test.after(() => rm(dir, { recursive: true, force: true }));

async function diagnose(files: { readonly trust?: string; readonly crls?: string | undefined }) {
  await writeFile(at("cert.pem"), node.chainPem);
  await writeFile(at("key.pem"), node.keyPem, { mode: 0o600 });
  await writeFile(at("trust.pem"), pki.intermediate.certPem + pki.trustPem);
  await writeFile(at("crls.pem"), await pki.crls());
  await rm(at("partner.pem"), { force: true });
  if (files.trust !== undefined) await writeFile(at("partner.pem"), files.trust);
  if (files.crls !== undefined) await writeFile(at("partner-crls.pem"), files.crls);
  const path = (key: string, name: string) => `${key} = ${JSON.stringify(at(name))}`;
  const lines = ["cert", "key", "trust", "crls"].map((name) => path(`${name}_pem`, `${name}.pem`));
  lines.push(
    'external_addresses = ["/dns4/gateway.example/tcp/4001"]',
    'listen_addresses = ["/ip4/127.0.0.1/tcp/4001"]',
    "[[trust_domains]]",
    'name = "partner.example"',
    path("trust_pem", "partner.pem"),
    ...(files.crls === undefined ? [] : [path("crls_pem", "partner-crls.pem")]),
    "",
  );
  await writeFile(at("config.toml"), lines.join("\n"));
  const { ok, findings } = await Effect.runPromise(
    Effect.provide(examine({ config: at("config.toml") }), NodeFileSystem.layer),
  );
  return { ok, found: findings.filter(({ check }) => ["trust-domain", "trust-file"].includes(check)) };
}

const trust = partner.intermediate.certPem + partner.trustPem;
const late = () => partner.crls({ thisUpdate: inDays(-9), nextUpdate: inDays(-0.5) });
const cases: [name: string, files: Parameters<typeof diagnose>[0], ok: boolean, level: string, detail: RegExp][] = [
  ["says who speaks for one", { trust }, true, "ok", /^partner\.example: CN=Partner Intermediate CA, O=Partner, CN=/],
  ["takes its lists", { trust, crls: await partner.crls() }, true, "ok", /^partner\.example:/],
  ["finds that its bundle is missing", {}, false, "error", /there is no such file/],
  ["finds that its bundle is rubbish", { trust: "rubbish" }, false, "error", /partner\.example: no block CERTIFICATE/],
  [
    "finds that its list is another's",
    { trust, crls: "rubbish" },
    false,
    "error",
    /partner\.example: no block X509 CRL/,
  ],
  [
    "finds that its list is late",
    { trust, crls: await late() },
    true,
    "warning",
    /partner\.example: the list of .* was due/,
  ],
];
for (const [name, files, ok, level, detail] of cases) {
  test(name, async () => {
    const { ok: fine, found } = await diagnose(files);
    assert.is(fine, ok);
    const finding = found.find((each) => each.level === level);
    assert.match(finding?.detail ?? JSON.stringify(found), detail);
    assert.is(finding!.mend === null, level === "ok");
  });
}

test("finds that a bundle was not fetched yet, and looks at one that was", async () => {
  await diagnose({ trust });
  const text = await readFile(at("config.toml"), "utf8");
  const pin = markKey(Result.getOrThrow(parseCertificate(partner.root.der)));
  const place = `bundle_url = "https://ca.partner.example/bundle.json"\nbundle_pin = "sha256:${pin}"`;
  await writeFile(at("config.toml"), text.replace(/trust_pem = ".*partner.pem"/, place));
  const finding = async () => {
    const examined = examine({ config: at("config.toml") });
    const { findings } = await Effect.runPromise(Effect.provide(examined, NodeFileSystem.layer));
    return findings.filter(({ check }) => check === "trust-domain")[0];
  };
  const missing = await finding();
  assert.is(missing?.level, "warning");
  assert.match(missing!.detail, "its bundle was not fetched yet");
  const authorities = [partner.intermediate, partner.root].map(({ der }) => Result.getOrThrow(parseCertificate(der)));
  const path = bundlePath(at(".hypha/config"), "partner.example");
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, formatSpiffeBundle(authorities, { sequence: 1 }));
  const there = await finding();
  assert.equal([there?.level, there?.file], ["ok", path]);
});

test.run();
