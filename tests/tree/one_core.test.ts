/** There is one transport: a simulation runs every file of the core, and one file creates gates and closes what they refuse. */
import { readdirSync, readFileSync } from "node:fs";
import { posix } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const test = suite("one transport core");
const root = fileURLToPath(new URL("../../", import.meta.url));
const textOf = (path: string) => readFileSync(root + path, "utf8");
const filesOf = (folder: string) =>
  (readdirSync(root + folder, { recursive: true }) as string[])
    .filter((name) => name.endsWith(".ts"))
    .map((name) => `${folder}/${name.replaceAll("\\", "/")}`);

/** The files that a file's values come from, and theirs. Imports of types only are not followed: they do not run. */
function valueImports(start: string): ReadonlySet<string> {
  const found = new Set([start]);
  for (const path of found) {
    const statements = textOf(path).matchAll(/^(?:import|export)\s+(?!type\b)[^;]*?from\s+"(\.[^"]+)";/gm);
    for (const [, specifier = ""] of statements) found.add(posix.join(posix.dirname(path), specifier));
  }
  return found;
}

/** Whether a file has something that runs. */
const hasValues = (path: string) =>
  /^export (?:const|function|class|async function|abstract class)\b/m.test(textOf(path));

test("a simulation imports every file of the core, and so do the programs", () => {
  const core = filesOf("transport/core").filter(hasValues);
  assert.ok(core.length >= 25, `${core.length} files of the core`);
  for (const start of ["actors/simulation/mod.ts", "transport/libp2p/transport.ts"]) {
    const imported = valueImports(start);
    assert.equal(core.filter((path) => !imported.has(path)), [], `not imported by ${start}`);
  }
});

test("only the connection table creates gates, sends them commands and has new trust evaluated", () => {
  const transport = filesOf("transport");
  const using = (what: RegExp) => transport.filter((path) => what.test(textOf(path)));
  assert.equal(using(/\bmakeGate\(/), ["transport/core/connection_table.ts"]);
  assert.equal(using(/\bgate\??\.send\(/), ["transport/core/connection_table.ts"]);
  assert.equal(using(/type: "trust\.changed", snapshot/), ["transport/core/connection_table.ts"]);
});

test("a wire knows no gate, and neither wire knows the other", () => {
  for (const [wire, other] of [["libp2p", "simulated"], ["simulated", "libp2p"]] as const) {
    for (const path of filesOf(`transport/${wire}`)) {
      assert.not.match(textOf(path), new RegExp(`from "\\.\\./${other}/`), path);
      if (path === "transport/libp2p/mtls_security.ts") continue; // it is no wire: it puts a connection table on one
      assert.not.match(textOf(path), /\b(?:Gate|MakeGate|GateEvent|GateCommand)\b/, path);
    }
  }
});

test.run();
