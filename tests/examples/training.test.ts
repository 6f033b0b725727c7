/** `docs/training.md` on one machine, word for word but for the port, after the network of `docs/first-network.md`. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { needing } from "../support/prerequisites.ts";
import { freePort } from "../support/program.ts";
import { blocksOf, cloneInto, ShellSession } from "../support/shell_session.ts";

const patienceMs = 120_000;
// A short name: the sockets of jobs and the admin socket lie below it.
const folder = mkdtempSync(join(tmpdir(), "htr-"));

const test = suite("docs/training.md");
test.after(() => rmSync(folder, { recursive: true, force: true }));

// The document's commands run on the pinned Node; tests/programs/daemon.test.ts runs the same commands on Deno.
if ("Deno" in globalThis) {
  test("has commands and what they show", () => {
    const languages = new Set(blocksOf("docs/training.md").map(({ language }) => language));
    assert.equal([...languages].toSorted(), ["sh", "text"]);
  });
} else {
  needing(test, "bash", "awk", "split")(
    "leads from a network to a model, and to a training that was cancelled",
    async () => {
      const port = await freePort();
      mkdirSync(join(folder, "t"));
      const session = new ShellSession({ cwd: cloneInto(join(folder, "t")), env: {}, lifeMs: 4 * patienceMs });
      const network = [
        "1. Certificates",
        "2. Machine A: the gateway",
        "3. Machine A: the data node",
        "4. Machine B: two workers",
      ];
      const blocks = [
        ...blocksOf("README.md", "First network").slice(0, 1),
        ...network.flatMap((heading) => blocksOf("docs/first-network.md", heading)),
        ...blocksOf("docs/training.md"),
      ];
      for (const { language, text } of blocks) {
        await session.take({ language, text: text.replaceAll("/tcp/4001", `/tcp/${port}`) }, patienceMs);
      }
      assert.is(await session.end(), 0, session.lines.slice(-60).join("\n"));
      const errors = session.lines.filter((line) => / (ERROR|node\.crashed) /.test(line));
      assert.equal(errors, []);
    },
  );
}

test.run();
