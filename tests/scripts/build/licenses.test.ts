import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { licensesOf } from "../../../scripts/build/licenses.ts";

const test = suite("licensesOf()");
const root = mkdtempSync(join(tmpdir(), "hypha-licenses-"));
test.after(() => rmSync(root, { recursive: true, force: true }));

function install(name: string, manifest: object, files: Readonly<Record<string, string>>): void {
  const folder = join(root, "node_modules", name);
  mkdirSync(join(folder, "dist"), { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify(manifest));
  for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, file), text);
}
const inputs = (...paths: readonly string[]) =>
  Object.fromEntries(paths.map((path) => [path, { bytes: 1, imports: [] }]));

test("has the licence files of each package once, and of our own sources nothing", () => {
  install("@scope/b", { name: "@scope/b", version: "2.0.0" }, { "LICENSE-MIT": "mit", "LICENSE-APACHE": "apache" });
  install("a", { name: "a", version: "1.0.0", license: "ISC", author: { name: "Ada" } }, {
    "dist/package.json": JSON.stringify({ type: "module" }),
  });
  const files = [
    "pki/pem.ts",
    "node_modules/a/dist/x.js",
    "node_modules/a/dist/y.js",
    "node_modules/@scope/b/dist/z.js",
  ];
  const text = licensesOf(root, inputs(...files));
  assert.match(text, "@scope/b 2.0.0\n\napache\n\nmit\n");
  assert.match(text, "a 1.0.0\n\nLicence: ISC. Author: Ada\n");
  assert.is(text.split("a 1.0.0").length, 2);
  assert.is(text.split("-".repeat(80)).length, 2);
});

test("a package without a licence is not bundled", () => {
  install("c", { name: "c", version: "1.0.0" }, {});
  assert.throws(() => licensesOf(root, inputs("node_modules/c/dist/x.js")), /c: it names no licence/);
});

test.run();
