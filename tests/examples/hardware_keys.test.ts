/** `docs/hardware-keys.md`: every command, in its order, with a token of SoftHSM. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runCommand } from "../../scripts/check/command.ts";
import { certutilHere, opensslOk } from "../support/commands.ts";
import { needing } from "../support/prerequisites.ts";
import { makeSoftToken, softModule, type SoftToken } from "../support/soft_token.ts";

const test = needing(suite("docs/hardware-keys.md"), "softhsm2-util", "pkcs11-tool", "openssl");

let token: SoftToken;
test.before(() => void (token = makeSoftToken("none")));
test.after(() => token.remove());

const page = readFileSync(new URL("../../docs/hardware-keys.md", import.meta.url), "utf8");
const commands = [...page.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block = ""]) => block.trim().split("\n"));

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
