/** How the process of a token is started, as the system sees it. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { startTokenChild } from "../../actors/pkcs11/start_token_child.ts";

const test = suite("startTokenChild()");

if (process.platform === "linux") {
  test("the process has a group of its own; on Deno it may call libraries and read files, and nothing else", async () => {
    const child = startTokenChild();
    try {
      // It answers: the system shows its program, no longer this one.
      child.stdin!.write(`${JSON.stringify({ op: "find", key: {} })}\n`);
      await Promise.race([once(child.stdout!, "data"), once(child, "exit")]);
      const args = readFileSync(`/proc/${child.pid}/cmdline`, "utf8").split("\0");
      const permissions = args.filter((each) => /^(?:-A|-[RWENSI]\b|--allow)/.test(each));
      assert.equal(permissions, "Deno" in globalThis ? ["--allow-ffi", "--allow-read"] : []);
      const [, , group] = readFileSync(`/proc/${child.pid}/stat`, "utf8").replace(/^.*\) /s, "").split(" ");
      assert.is(Number(group), child.pid);
    } finally {
      child.stdin!.end();
    }
    assert.equal(await once(child, "exit"), [0, null]);
  });
}

test.run();
