/** `docs/operations.md`, "Life of a CA" and "Incidents of a CA": every command, in its order, word for word but for the port. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { approverKeys, policyOfKeys } from "../support/approvers.ts";
import { needing } from "../support/prerequisites.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { blocksOf, ShellSession } from "../support/shell_session.ts";

/** A machine that many share may take its time. */
const patienceMs = 90_000;
const folder = mkdtempSync(join(tmpdir(), "hcl-"));
const test = suite("the life of a CA in docs/operations.md");
test.after(() => rmSync(folder, { recursive: true, force: true }));
const [page, heading] = ["docs/operations.md", "Life of a CA"];

// The commands run on the runtime that the launcher finds; tests/programs/ca.test.ts runs the program on both.
if ("Deno" in globalThis) {
  test("has commands and what they show", () => {
    const languages = new Set(blocksOf(page, heading).map(({ language }) => language));
    assert.equal([...languages].toSorted(), ["sh", "text"]);
  });
} else {
  needing(test, "bash", "curl", "openssl")("leads from the root's key offline to the next intermediate", async () => {
    const port = await freePort();
    const bin = fileURLToPath(new URL("../../scripts/bin", import.meta.url));
    const env = { PATH: `${bin}:${process.env["PATH"]}` };
    const session = new ShellSession({ cwd: folder, env, lifeMs: 6 * patienceMs });
    const type = (language: "sh" | "text", text: string) =>
      session.take({ language, text: text.replaceAll("8443", String(port)) }, patienceMs);
    const [init, started] = blocksOf("docs/ca.md", "Make a CA and run it");
    await type("sh", init!.text);
    await type("text", started!.text);
    // Approvers of whom no command of the page needs one.
    const policy = policyOfKeys(await approverKeys(), undefined, ["change-approvers"]);
    writeFileSync(join(folder, "ca/root-cert.pem.approvers.json"), `${policy.line}\n`);
    for (const { language, text } of blocksOf(page, heading)) await type(language, text);
    const moved = join(folder, "offline/root-cert.pem.approvers.json");
    assert.ok(existsSync(moved), "bug: the root's approvals were left behind, and nothing waited for them");
    await type("sh", "kill %hypha-ca\nwait %hypha-ca\nhypha-ca run -c ca/ca.toml &\n");
    await type("text", "… ca.listening …\n");
    await type("sh", "hypha-ca status -c ca/ca.toml\n");
    const joining = "(mkdir worker-01 && cd worker-01 && hypha-worker join -)";
    await type("sh", `hypha-ca token -c ca/ca.toml --role worker --name worker-01 | ${joining}\n`);
    for (const { language, text } of blocksOf(page, "Incidents of a CA")) await type(language, text);
    await type("sh", "hypha-ca status -c ca/ca.toml\nkill %hypha-ca\n");
    assert.is(await session.end(), 0, session.lines.slice(-60).join("\n"));
    const issuing = session.lines.filter((line) => /^ {2}CN=Issuing CA.* issuing /.test(line));
    assert.equal(issuing.slice(-2).map((line) => line.slice(2, 17)), ["CN=Issuing CA 2", "CN=Issuing CA 3"]);
  });
}

test.run();
