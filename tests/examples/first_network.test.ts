/** `docs/first-network.md` on one machine, word for word but for the port. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { needing } from "../support/prerequisites.ts";
import { freePort } from "../support/program.ts";
import { blocksOf, cloneInto, ShellSession } from "../support/shell_session.ts";

const patienceMs = 90_000;
/** A model that learned nothing guesses one digit in ten. */
const accuracyMin = 0.7;
// A short name: the sockets of jobs lie below it, and a cell without a root of its own takes no path over 107 bytes.
const folder = mkdtempSync(join(tmpdir(), "hfn-"));

const test = suite("docs/first-network.md");
test.after(() => rmSync(folder, { recursive: true, force: true }));

// The document's commands run on the pinned Node; the roles on Deno are the business of tests/programs.
if ("Deno" in globalThis) {
  test("has commands and what they show", () => {
    const languages = new Set(blocksOf("docs/first-network.md").map(({ language }) => language));
    assert.equal([...languages].toSorted(), ["sh", "text"]);
  });
} else {
  needing(test, "bash", "awk", "split")("leads from an empty folder to a model that was trained", async () => {
    const port = await freePort();
    const clone = cloneInto(folder);
    const blocks = [...blocksOf("README.md", "First network").slice(0, 1), ...blocksOf("docs/first-network.md")];
    const session = new ShellSession({ cwd: clone, env: {}, lifeMs: 2 * patienceMs });
    for (const { language, text } of blocks) {
      await session.take({ language, text: text.replaceAll("/tcp/4001", `/tcp/${port}`) }, patienceMs);
    }
    assert.is(await session.end(), 0, session.lines.slice(-60).join("\n"));
    const accuracies = session.lines.flatMap((line) => /round\.evaluated.* accuracy=([\d.]+)/.exec(line)?.[1] ?? []);
    assert.is(accuracies.length, 5);
    assert.ok(Number(accuracies[4]) > accuracyMin, accuracies.join(" "));
    const errors = session.lines.filter((line) => / (ERROR|node\.crashed) /.test(line));
    assert.equal(errors, []);
  });
}

test.run();
