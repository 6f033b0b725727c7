/** `docs/first-network.md` on one machine, word for word but for the port: the network of two machines, and the two nodes by hand. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { isThere } from "../../scripts/check/prerequisites.ts";
import { needing } from "../support/prerequisites.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { type Block, blocksOf, cloneInto, ShellSession } from "../support/shell_session.ts";

const patienceMs = 90_000;
/** A model that learned nothing guesses one digit in ten. */
const accuracyMin = 0.7;
// A short name: the sockets of jobs lie below it, and a cell without a root of its own takes no path over 107 bytes.
const folder = mkdtempSync(join(tmpdir(), "hfn-"));

const test = suite("docs/first-network.md");
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** Takes the blocks in a clone of its own, called `name`, and returns what was seen. */
async function take(name: string, blocks: readonly Block[]): Promise<readonly string[]> {
  const port = await freePort();
  mkdirSync(join(folder, name));
  const clone = cloneInto(join(folder, name));
  const session = new ShellSession({ cwd: clone, env: {}, lifeMs: 2 * patienceMs });
  for (const { language, text } of [...blocksOf("README.md", "First network").slice(0, 1), ...blocks]) {
    await session.take({ language, text: text.replaceAll("/tcp/4001", `/tcp/${port}`) }, patienceMs);
  }
  assert.is(await session.end(), 0, session.lines.slice(-60).join("\n"));
  return session.lines;
}

// The document's commands run on the pinned Node; the roles on Deno are the business of tests/programs.
if ("Deno" in globalThis) {
  test("has commands and what they show", () => {
    const languages = new Set(blocksOf("docs/first-network.md").map(({ language }) => language));
    assert.equal([...languages].toSorted(), ["sh", "text"]);
  });
} else {
  const page = "docs/first-network.md";
  const byHand = blocksOf(page, "Two nodes by hand");

  // Both at once: each waits for its nodes most of the time.
  const tools = ["bash", "awk", "split", "openssl"];
  const start = (name: string, blocks: readonly Block[]) => {
    const taken = tools.every(isThere) ? take(name, blocks) : Promise.resolve([]);
    return taken.then((lines) => () => lines, (error: unknown) => () => {
      throw error;
    });
  };
  const [trained, cutOff] = [start("trained", blocksOf(page).slice(0, -byHand.length)), start("by-hand", byHand)];

  needing(test, ...tools)("leads from an empty folder to a model that was trained", async () => {
    const lines = (await trained)();
    const accuracies = lines.flatMap((line) => /round\.evaluated.* accuracy=([\d.]+)/.exec(line)?.[1] ?? []);
    assert.is(accuracies.length, 5);
    assert.ok(Number(accuracies[4]) > accuracyMin, accuracies.join(" "));
    const errors = lines.filter((line) => / (ERROR|node\.crashed) /.test(line));
    assert.equal(errors, []);
  });

  needing(test, ...tools)("by hand: leads to a worker that is cut off", async () => {
    assert.equal(blocksOf(page).slice(-byHand.length), byHand, "the section is the last one with commands");
    assert.ok(byHand.some(({ language, text }) => language === "text" && text.includes("certificate-revoked")));
    const lines = (await cutOff)();
    assert.ok(lines.some((line) => line.endsWith("gateway-01-cert.pem: OK")), lines.join("\n"));
  });
}

test.run();
