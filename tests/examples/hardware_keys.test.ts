/** `docs/hardware-keys.md`: every command, in its order, with a token of SoftHSM. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runCommand } from "../../scripts/check/command.ts";
import { certutilHere, opensslOk } from "../support/commands.ts";
import { needing } from "../support/prerequisites.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { blocksOf, ShellSession } from "../support/shell_session.ts";
import { makeSoftToken, softModule, type SoftToken } from "../support/soft_token.ts";

const test = needing(suite("docs/hardware-keys.md"), "softhsm2-util", "pkcs11-tool", "openssl");

let token: SoftToken;
test.before(() => void (token = makeSoftToken("none")));
test.after(() => token.remove());

const page = "docs/hardware-keys.md";
const commands = blocksOf(page, "Make a CA in a token").flatMap(({ text }) => text.trim().split("\n"));

/** Bare and quoted words; nothing else of the shell's is used for this program. */
const wordsOf = (command: string): readonly string[] =>
  [...command.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? "");

test("its commands make a CA in a token; openssl verifies it, and pkcs11-tool lists its keys", async () => {
  const printed: string[] = [];
  for (const command of commands) {
    const here = command.replaceAll("/etc/hypha", token.dir).replaceAll("/usr/lib/softhsm/libsofthsm2.so", softModule);
    const [program, ...words] = wordsOf(here);
    const { code, stdout, stderr } = program === "hypha-certutil"
      ? await certutilHere(token.dir, ...words)
      : await runCommand("sh", ["-c", here], { cwd: token.dir, timeoutMs: 20_000 });
    assert.is(code, 0, `${command}: ${stdout}${stderr}`);
    printed.push(stdout);
  }
  assert.is(printed.join("").match(/root-cert\.pem: OK|ca-cert\.pem: OK/g)?.length, 2);
  const listed = printed.at(-1) ?? "";
  assert.equal([...listed.matchAll(/^Private Key Object;.*\n +label: +(.*)$/gm)].map(([, label]) => label).sort(), [
    "ca",
    "root",
  ]);
});

// The commands run on the runtime that the launcher finds; tests/enrolment/identify.test.ts runs the machine on both.
if (!("Deno" in globalThis)) {
  test("a node whose identity is in a token joins the network of docs/ca.md, and its CA shows both certificates", async () => {
    const [port, gateway] = [await freePort(), await freePort()];
    const here = (text: string) =>
      text.replaceAll("8443", String(port)).replaceAll("4001", String(gateway)).replaceAll("/etc/hypha", token.dir)
        .replaceAll("/usr/lib/softhsm/libsofthsm2.so", softModule);
    const bin = fileURLToPath(new URL("../../scripts/bin", import.meta.url));
    const folder = join(token.dir, "network");
    mkdirSync(folder);
    const session = new ShellSession({ cwd: folder, env: { PATH: `${bin}:${process.env["PATH"]}` }, lifeMs: 90_000 });
    const network = [
      ...blocksOf("docs/ca.md", "Make a CA and run it"),
      ...blocksOf("docs/ca.md", "Enrol a node").slice(0, 2),
    ];
    for (const { language, text } of [...network, ...blocksOf(page, "A node's identity in a token")]) {
      await session.take({ language, text: here(text) }, 30_000);
    }
    await session.take({ language: "sh", text: "kill %1 %2 %3\n" }, 1_000);
    assert.is(await session.end(), 0, session.lines.slice(-60).join("\n"));
    const shown = session.lines.join("\n").matchAll(/"identity": "(spiffe:[^"]+worker-03)"/g);
    assert.equal([...shown].map(([, identity]) => identity), [
      "spiffe://acme.local/identity/worker-03",
      "spiffe://acme.local/worker/worker-03",
    ]);
  });
}

test("a key that pkcs11-tool has made certifies and signs", async () => {
  const make = ["--keypairgen", "--key-type", "EC:edwards25519", "--label", "theirs", "--id", "07"];
  const session = ["--module", softModule, "--token-label", "acme", "--login", "--pin", "1234"];
  const { code, stderr } = await runCommand("pkcs11-tool", [...session, ...make], {
    cwd: token.dir,
    timeoutMs: 20_000,
  });
  assert.is(code, 0, stderr);
  const uri = token.uri("theirs").replace(";object=theirs", ";id=%07");
  const made = ["gen-ca", "--key", uri, "--common-name", "Theirs", "--out-cert", "theirs.pem"];
  assert.is((await certutilHere(token.dir, ...made)).code, 0);
  await opensslOk(token.dir, "verify", "-CAfile", "theirs.pem", "theirs.pem");
});

test.run();
