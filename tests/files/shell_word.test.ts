import { execFileSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { shellWord } from "../../actors/files/shell_word.ts";
import type { LoadError } from "../../actors/files/load_error.ts";
import { identityMachine } from "../../actors/trust/identity.ts";
import { host } from "../support/child_host.ts";
import { makeTestPki } from "../support/pki.ts";

const test = suite("shellWord()");

test("a real shell takes each as one word, and plain paths stand as they are", () => {
  const plain = ["/etc/hypha/a-b_c.toml", "./x", "../x,y:z=1@2+%", "a~b"];
  const quoted = ["", "a b", "~/a", "it's", "$HOME", "`id`", "a;id", "a\nb", '"', "-rf", "*", "ü", "a\\b", "!x", "#"];
  for (const text of [...plain, ...quoted]) {
    const printed = execFileSync("sh", ["-c", `printf '[%s]' ${shellWord(text)}`], { encoding: "utf8" });
    assert.is(printed, `[${text}]`);
  }
  for (const text of plain) assert.is(shellWord(text), text);
});

test("bug: a printed command acted on other files where a path has a space", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hypha words "));
  try {
    const pki = await makeTestPki();
    const node = await pki.node("worker-01", { role: "worker" });
    const [certPem, keyPem] = [join(folder, "cert.pem"), join(folder, "it's a key.pem")];
    await mkdir(folder, { recursive: true });
    await writeFile(certPem, node.chainPem);
    await writeFile(keyPem, node.keyPem);
    await chmod(keyPem, 0o644);
    const refused = host(identityMachine, { certPem, keyPem });
    const { error } = await refused.hear("identity.failed") as unknown as { readonly error: LoadError };
    await refused.stop();
    const command = /chmod 600 .*key\.pem'?/.exec(error.message)?.[0];
    execFileSync("sh", ["-c", command ?? "false"]);
    assert.is((await stat(keyPem)).mode & 0o777, 0o600);
    const loaded = host(identityMachine, { certPem, keyPem });
    await loaded.hear("identity.loaded");
    await loaded.stop();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test.run();
