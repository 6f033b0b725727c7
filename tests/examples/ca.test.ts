/** `docs/ca.md`: every command, in its order, word for word but for the port. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { needing } from "../support/prerequisites.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { blocksOf, ShellSession } from "../support/shell_session.ts";

const patienceMs = 20_000;
const folder = mkdtempSync(join(tmpdir(), "hcd-"));
const test = suite("docs/ca.md");
test.after(() => rmSync(folder, { recursive: true, force: true }));

// The commands run on the runtime that the launcher finds; tests/programs/ca.test.ts runs the program on both.
if ("Deno" in globalThis) {
  test("has commands and what they show", () => {
    const languages = new Set(blocksOf("docs/ca.md").map(({ language }) => language));
    assert.equal([...languages].toSorted(), ["sh", "text"]);
  });
} else {
  needing(test, "bash", "curl", "openssl")(
    "leads from nothing to a network, to a certificate of another client, and to its revocation",
    async () => {
      const [port, gateway] = [await freePort(), await freePort()];
      const bin = fileURLToPath(new URL("../../scripts/bin", import.meta.url));
      const env = { PATH: `${bin}:${process.env["PATH"]}` };
      const session = new ShellSession({ cwd: folder, env, lifeMs: 6 * patienceMs });
      for (const { language, text } of blocksOf("docs/ca.md")) {
        await session.take({
          language,
          text: text.replaceAll("8443", String(port)).replaceAll("4001", String(gateway)),
        }, patienceMs);
      }
      await session.take({ language: "sh", text: "kill %1 %2 %3\n" }, patienceMs);
      assert.is(await session.end(), 0, session.lines.slice(-60).join("\n"));
      const revoked = session.lines.filter((line) => line.startsWith("revoked spiffe://acme.local/worker/worker-02 "));
      assert.is(revoked.length, 2, session.lines.join("\n"));
    },
  );
}

test.run();
