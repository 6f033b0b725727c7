/** Every exported symbol of the entry points is documented, and shows no type that an importer cannot name. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const test = suite("documentation of the entry points");

/** `mod.ts` re-exports what is documented in the other rooms. Types of other packages are theirs to document: `--no-npm`. */
const entryPoints = ["mod.ts", "pki/mod.ts", "pki/issue/mod.ts"];

test("deno doc --lint finds nothing", async () => {
  const deno = "Deno" in globalThis ? process.execPath : join("node_modules", ".bin", "deno");
  const args = ["doc", "--lint", "--no-npm", "--quiet", ...entryPoints];
  const env = { ...process.env, NO_COLOR: "1" };
  const ended = promisify(execFile)(deno, args, { env }).then(
    ({ stderr }) => ({ code: 0, stderr }),
    (error: { readonly code: number; readonly stderr: string }) => error,
  );
  const { code, stderr } = await ended;
  assert.equal([...stderr.matchAll(/^error.*\n.*--> .*$/gm)].map(([finding]) => finding), []);
  assert.is(code, 0, stderr);
});

test.run();
