/**
 * `docs/operations.md`: every command, in its order, against the gateway of the tour. The certificate tool runs in this
 * process (`tests/programs/certutil/` runs it as a process); nodes, probes and openssl are processes.
 */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runCommand } from "../../scripts/check/command.ts";
import { initText } from "../../scripts/program/init_text.ts";
import { certutilHere } from "../support/commands.ts";
import { needing } from "../support/prerequisites.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { type Running, runProgramOnce, startProgram } from "../support/program.ts";

/** A machine that many share may take its time. */
const lifeMs = 150_000;
const patienceMs = 60_000;
const folder = mkdtempSync(join(tmpdir(), "hypha-operations-"));
const port = await freePort();
const address = `/ip4/127.0.0.1/tcp/${port}`;
const at = (...path: readonly string[]) => join(folder, ...path);

/** Commands of the page: one a line, continued lines joined. Two parts have tests of their own: `ca_life.test.ts`, `rewritten_log.test.ts`. */
function commandsOf(path: string): readonly string[] {
  const page = readFileSync(new URL(`../../${path}`, import.meta.url), "utf8").replace(
    /^## (?:Life of a CA|Incidents of a CA|When an audit log may have been rewritten)$.*?^(?=## )/gms,
    "",
  );
  return [...page.matchAll(/```sh\n([\s\S]*?)```/g)]
    .flatMap((match) => (match[1] ?? "").replaceAll("\\\n", " ").split("\n"))
    .filter((line) => line !== "");
}

/** Words of a command: bare ones and quoted ones; nothing else of the shell's is used. */
const wordsOf = (command: string): readonly string[] =>
  [...command.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? "");

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one command as it stands, but for the port. */
async function run(command: string): Promise<Ended> {
  const [program = "", ...words] = wordsOf(command.replaceAll("/tcp/4001", `/tcp/${port}`));
  if (program === "hypha-certutil") return await certutilHere(folder, ...words);
  if (program === "hypha-worker") return await runProgramOnce("worker", words, { cwd: folder });
  assert.ok(["openssl", "chmod"].includes(program), `${program} is something that this test can run`);
  return await runCommand(program, words, { cwd: folder, timeoutMs: 20_000 });
}

function startGateway(): Running {
  const env = { HYPHA_CRLS_PEM: "certs/crls.pem", HYPHA_LISTEN_ADDRESSES: address };
  return startProgram("gateway", ["run", "-c", "gateway.toml", "--log-format", "json"], {
    cwd: folder,
    env,
    lifeMs,
  });
}

/** What the tour leaves: two CAs, two nodes, lists, configurations. */
async function takeTour(): Promise<void> {
  mkdirSync(at("certs"));
  const root = ["--ca-cert", "root-ca-cert.pem", "--ca-key", "root-ca-key.pem"];
  const ca = ["--ca-cert", "ca-cert.pem", "--ca-key", "ca-key.pem"];
  const pair = (name: string) => ["--out-cert", `${name}-cert.pem`, "--out-key", `${name}-key.pem`];
  const certutil = async (...words: readonly string[]) => {
    const { code, stderr } = await certutilHere(folder, ...words);
    assert.is(code, 0, stderr);
  };
  await certutil("gen-ca", ...pair("root-ca"), "--common-name", "Acme Root CA");
  await certutil("gen-intermediate-ca", ...root, ...pair("ca"), "--common-name", "Acme CA");
  await certutil("bundle", "ca-cert.pem", "root-ca-cert.pem", "--out", "certs/ca-bundle.pem");
  for (const name of ["gateway-01", "worker-01"]) {
    const role = ["--role", name.replace("-01", ""), "--domain", "acme.local"];
    await certutil("gen-cert", ...ca, ...pair(`certs/${name}`), "--common-name", `${name}.acme.local`, ...role);
  }
  await certutil("gen-crl", ...root, "--out-crl", "certs/crls.pem");
  await certutil("gen-crl", ...ca, "--out-crl", "certs/crls.pem");
  for (const role of ["gateway", "worker"] as const) {
    const text = initText({ role, name: `${role}-01` }).replaceAll("/tcp/4001", `/tcp/${port}`);
    writeFileSync(at(`${role}.toml`), text);
  }
}

const commands = commandsOf("docs/operations.md");
let gateway: Running;
let peer: unknown;

/** The gateway took the new pair, without being started again. */
async function renewed(key: "same" | "new"): Promise<void> {
  const taken = await gateway.waitFor("identity.renewed", (event) => event["key"] === key, patienceMs);
  const before = peer;
  peer = taken["peer"];
  assert.is(peer === before, key === "same", "the same key is the same PeerID, another is another");
}

/** Asks again while the answer is not the one; the last answer counts. A probe has two seconds, which may be too few. */
async function insist(ask: () => Promise<Ended>, fits: (ended: Ended) => boolean): Promise<Ended> {
  const until = Date.now() + patienceMs;
  let ended = await ask();
  while (!fits(ended) && Date.now() < until) ended = await ask();
  return ended;
}

/** The pair that was put aside is refused, with one of these codes in the gateway's log. */
async function isRefusedAside(...codes: readonly string[]): Promise<void> {
  const env = { HYPHA_CERT_PEM: "aside-cert.pem", HYPHA_KEY_PEM: "aside-key.pem" };
  const isSaid = () =>
    gateway.events.some(({ event, code, name }) =>
      event === "peer.refused" && codes.includes(String(code)) && name === "worker-01.acme.local"
    );
  const probe = () => runProgramOnce("worker", ["probe", "-c", "worker.toml", address], { cwd: folder, env });
  assert.is((await insist(probe, ({ code }) => code === 0 || isSaid())).code, 1);
  assert.ok(isSaid(), `the log names ${codes.join(" or ")}`);
}

function putAside(): void {
  copyFileSync(at("certs/worker-01-cert.pem"), at("aside-cert.pem"));
  copyFileSync(at("certs/worker-01-key.pem"), at("aside-key.pem"));
}

/** What is to be seen after the command that contains this, and before it. */
const checks: readonly {
  readonly of: string;
  readonly before?: () => void | Promise<void>;
  readonly after?: (ended: Ended) => void | Promise<void>;
}[] = [
  { of: "doctor -c gateway.toml", after: ({ stdout }) => assert.match(stdout, "gateway-01") },
  {
    of: "--reason keyCompromise",
    before: putAside,
    after: async () => {
      await gateway.waitFor("trust.loaded", ({ generation }) => generation === 2);
      await isRefusedAside("certificate-revoked");
    },
  },
  {
    of: "inspect certs/gateway-01-cert.pem",
    after: async ({ stdout }) => {
      assert.match(stdout, String(peer));
      await renewed("same");
    },
  },
  {
    of: "gen-crl --ca-cert ca-cert.pem",
    after: async () => void await gateway.waitFor("trust.loaded", ({ generation }) => Number(generation) >= 2),
  },
  { of: "gen-intermediate-ca", before: putAside },
  {
    of: "--reason cACompromise",
    after: async () => {
      await renewed("new");
      await isRefusedAside("unknown-issuer", "certificate-revoked");
      const { stdout } = await certutilHere(folder, "inspect", "certs/crls.pem", "--json");
      assert.match(stdout, "cACompromise");
    },
  },
];

const test = needing(suite("docs/operations.md"), "openssl", "chmod");
test.before(async () => {
  await takeTour();
  gateway = startGateway();
  peer = (await gateway.waitFor("node.ready", undefined, patienceMs))["peer"];
});
test.after(async () => {
  gateway.signal("SIGTERM");
  await gateway.ended;
  process.chdir(tmpdir());
  rmSync(folder, { recursive: true, force: true });
});

test("names every check's command once, in this order", () => {
  assert.ok(commands.length >= 15, `${commands.length} commands`);
  const places = checks.map(({ of }) => commands.map((command, index) => command.includes(of) ? index : -1));
  const found = places.map((each) => each.filter((index) => index >= 0));
  assert.equal(found.map(({ length }) => length), checks.map(() => 1));
  assert.equal(found.flat(), found.flat().toSorted((a, b) => a - b));
});

for (const [index, command] of commands.entries()) {
  test(`${index + 1}: ${command.slice(0, 90)}`, async () => {
    const check = checks.find(({ of }) => command.includes(of));
    await check?.before?.();
    const isProbe = command.includes(" probe ");
    const ended = await insist(() => run(command), ({ code }) => code === 0 || !isProbe);
    assert.is(ended.code, 0, `${command}\n${ended.stdout}\n${ended.stderr}`);
    if (isProbe) assert.match(ended.stdout, "is healthy");
    await check?.after?.(ended);
  });
}

test.run();
