/**
 * README's first network, word for word but for the ports: on Node from the installed package, on Deno from a clone on a machine
 * that has no Node. Then the first lines of the existing network's documents from a clone on Node, as `docs/wire.md` has them.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runCommand } from "../../scripts/check/command.ts";
import { isThere } from "../../scripts/check/prerequisites.ts";
import { needing } from "../support/prerequisites.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { type Block, blocksOf, cloneInto, ShellSession, shows, toolsInto } from "../support/shell_session.ts";

const patienceMs = 120_000;
const onDeno = "Deno" in globalThis;
const folder = mkdtempSync(join(tmpdir(), "hypha-tour-"));
const pinned = fileURLToPath(new URL("../../node_modules/.bin", import.meta.url));
const scripts = fileURLToPath(new URL("../../scripts", import.meta.url));

const test = suite("README, first network");
const tools = ["bash", "openssl", ...(onDeno ? [] : ["deno"])];
const testWithTools = needing(test, ...tools);
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** The section: two ways to put the commands on the path, then the tour. */
const [fromClone, fromPackage, ...tour] = blocksOf("README.md", "First network");

/**
 * From an empty folder to a worker that joined: processor time of all commands in milliseconds, the machine's part of the five
 * minutes. A busy machine lengthens only the wall time.
 */
const joinedMaxMs = 60_000;
/** The clock starts when the commands are on the path: packing and installing are not part of the tour. */
const typeBegun: Block = { language: "sh", text: "echo the tour begins\n" };
const seeBegun: Block = { language: "text", text: "the tour begins\n" };
const seeJoined = tour.find(({ language, text }) => language === "text" && text.includes("worker-01 … node.ready"));

/** Takes the blocks in a clone of its own, called `name`, and returns the clone and what was seen. */
async function take(
  name: string,
  blocks: readonly (Block | undefined)[],
  env: Readonly<Record<string, string>>,
  taken: (block: Block, processorMs: number) => void = () => {},
): Promise<{ readonly clone: string; readonly lines: readonly string[] }> {
  const [port, caPort] = [await freePort(), await freePort()];
  mkdirSync(join(folder, name));
  const clone = cloneInto(join(folder, name));
  const session = new ShellSession({ cwd: clone, env, lifeMs: 2 * patienceMs });
  for (const block of blocks) {
    assert.ok(block !== undefined);
    const text = block.text.replaceAll("/tcp/4001", `/tcp/${port}`).replaceAll(":8443", `:${caPort}`);
    await session.take({ ...block, text }, patienceMs);
    taken(block, session.processorMs);
  }
  assert.is(await session.end(), 0, session.lines.join("\n"));
  await listenOn(port);
  return { clone, lines: session.lines };
}

async function takeTour(name: string, way: Block | undefined, env: Readonly<Record<string, string>>): Promise<void> {
  let begun = NaN;
  let joinedMs = NaN;
  const { clone } = await take(name, [way, typeBegun, seeBegun, ...tour], env, (block, processorMs) => {
    if (block === seeBegun) begun = processorMs;
    if (block === seeJoined) joinedMs = processorMs - begun;
  });
  const trust = join(clone, "tour/gateway-trust.pem");
  const certificate = join(clone, "tour/gateway-cert.pem");
  const { stdout } = await runCommand("openssl", ["verify", "-CAfile", trust, certificate], { timeoutMs: patienceMs });
  assert.match(stdout, ": OK");
  assert.ok(joinedMs > 0 && joinedMs <= joinedMaxMs, `from nothing to a worker that joined: ${joinedMs} ms`);
  console.log(`${name}: from nothing to a worker that joined: ${(joinedMs / 1_000).toFixed(1)} s of processor time`);
}

/** The commands as scripts that choose the runtime. */
async function takeMixed(): Promise<void> {
  const bin = join(folder, "mixed-bin");
  mkdirSync(bin);
  const runtimes = {
    ca: "node --no-warnings",
    gateway: "deno run -A --quiet --no-check",
    worker: "node --no-warnings",
  };
  for (const [program, runtime] of Object.entries(runtimes)) {
    const script = `#!/bin/sh\nexec "${pinned}/"${runtime} "${scripts}/hypha_${program}.ts" "$@"\n`;
    writeFileSync(join(bin, `hypha-${program}`), script, { mode: 0o755 });
  }
  await takeTour("mixed-way", { language: "sh", text: `export PATH="${bin}:$PATH"\n` }, {});
}

async function joinExisting(): Promise<void> {
  const { lines } = await take("existing", [fromClone, ...blocksOf("docs/wire.md", "Joining an existing network")], {});
  assert.ok(lines.some((line) => line.includes(" is healthy (12D3KooW")), lines.join("\n"));
}

/** The gateway has ended: its port is free. */
function listenOn(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(port, "127.0.0.1", () => server.close(() => resolve()));
  });
}

test("names the two ways, and ends with a worker that is cut off", () => {
  assert.match(fromClone?.text ?? "", "scripts/bin");
  assert.match(fromPackage?.text ?? "", "npm install -g");
  assert.ok(tour.some(({ language, text }) => language === "text" && text.includes("own-certificate-revoked")));
});

test("a line shows what is documented, in that order", () => {
  assert.ok(shows("12:00 INFO  gateway  node.ready  Ready", "… INFO … gateway … node.ready …"));
  assert.not(shows("12:00 INFO  gateway  node.ready  Ready", "… node.ready … gateway …"));
});

if (onDeno) {
  testWithTools("from a clone, on a machine with Deno and no Node", async () => {
    const paths = await Promise.all(["bash", "sh", "dirname", "basename", "tr", "mkdir", "cat"].map(async (name) => {
      const { stdout } = await runCommand("bash", ["-c", `command -v ${name}`], { timeoutMs: patienceMs });
      return stdout.trim();
    }));
    await takeTour("deno-way", fromClone, { PATH: toolsInto(folder, [...paths, process.execPath]) });
  });
} else {
  const prefix = join(folder, "prefix");
  const ways = {
    "from the package that npm pack makes": () =>
      takeTour("package-way", fromPackage, {
        PATH: [join(prefix, "bin"), pinned, process.env["PATH"]].join(":"),
        npm_config_prefix: prefix,
        npm_config_prefer_offline: "true",
      }),
    "in mixed runtimes: the gateway on Deno, the CA and the worker on Node": takeMixed,
    "the first lines of the existing network's documents": joinExisting,
  };
  // All at once: packing and installing wait for the registry and the disk, and the others need little of that time.
  const start = (way: () => Promise<void>) => tools.every(isThere) ? way() : Promise.resolve();
  for (const [name, way] of Object.entries(ways)) {
    const settled = start(way).then(() => undefined, (error: unknown) => error);
    testWithTools(name, async () => {
      const error = await settled;
      if (error !== undefined) throw error;
    });
  }
}

test.run();
