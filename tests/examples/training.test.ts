/**
 * A stranger's path on one machine, word for word but for the port: the network of `docs/first-network.md`, the data set of `docs/data.md`,
 * `docs/training.md`, and the executor in Python of `docs/executors.md`, from its package to the model that it trained.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { needing } from "../support/prerequisites.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { type Block, blocksOf, cloneInto, ShellSession } from "../support/shell_session.ts";

const patienceMs = 120_000;
const page = "docs/training.md", pythonPage = "docs/executors.md";
// A short name: the sockets of jobs and the admin socket lie below it.
const folder = mkdtempSync(join(tmpdir(), "htr-"));

const test = suite(page);
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** Takes blocks at a shell of their own, beside the path: what they install takes long, and is needed late. */
async function takeAside(blocks: readonly Block[], clone: string): Promise<void> {
  // pip takes the value as that of the option's key: 0 compiles nothing.
  const env = { TREE: clone, PIP_NO_COMPILE: "0", PIP_DISABLE_PIP_VERSION_CHECK: "1" };
  const session = new ShellSession({ cwd: clone, env, lifeMs: 2 * patienceMs });
  for (const block of blocks) await session.take(block, patienceMs);
  assert.is(await session.end(), 0, session.lines.slice(-20).join("\n"));
}

// The document's commands run on the pinned Node; tests/programs/daemon.test.ts runs the same commands on Deno.
if ("Deno" in globalThis) {
  test("has commands and what they show", () => {
    const languages = new Set([page, pythonPage].flatMap((each) => blocksOf(each)).map(({ language }) => language));
    assert.equal([...languages].toSorted(), ["sh", "text"]);
  });
} else {
  needing(test, "bash", "awk", "split", "python3-venv")(
    "leads from a network to a model, to a training that was cancelled, and to a model of an executor in Python",
    async () => {
      const port = await freePort();
      mkdirSync(join(folder, "t"));
      const clone = cloneInto(join(folder, "t"));
      const session = new ShellSession({ cwd: clone, env: {}, lifeMs: 4 * patienceMs });
      const take = async (blocks: readonly Block[]) => {
        for (const { language, text } of blocks) {
          await session.take({ language, text: text.replaceAll("/tcp/4001", `/tcp/${port}`) }, patienceMs);
        }
      };
      const [install, ...inPython] = blocksOf(pythonPage, "In Python, from data to a model");
      const installed = takeAside(install === undefined ? [] : [install], clone);
      installed.catch(() => {}); // it is awaited below
      const of = (...headings: readonly string[]) =>
        headings.flatMap((heading) => blocksOf("docs/first-network.md", heading));
      await take(blocksOf("README.md", "First network").slice(0, 1));
      await take(of("1. Certificates", "2. Machine A: the gateway"));
      await take(blocksOf("docs/data.md", "Prepare a data set"));
      await take(of("3. Machine A: the data node", "4. Machine B: two workers"));
      const stop = blocksOf(page, "6. Stop");
      await take(blocksOf(page).slice(0, -stop.length));
      await installed;
      await take(inPython);
      assert.equal(blocksOf(page).slice(-stop.length), stop);
      await take(stop);
      assert.is(await session.end(), 0, session.lines.slice(-60).join("\n"));
      const errors = session.lines.filter((line) => / (ERROR|node\.crashed) /.test(line));
      assert.equal(errors, []);
    },
  );
}

test.run();
