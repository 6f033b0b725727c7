import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { keepReachable, packageOf } from "../../../scripts/build/declarations.ts";

const test = suite("keepReachable()");
const folder = mkdtempSync(join(tmpdir(), "hypha-declarations-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

function write(files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
}

test("keeps what an export leads to, by every form of import, and names its packages", () => {
  write({
    "mod.d.ts": 'export * from "./room/a.ts";\nexport declare const x: import("@libp2p/interface/deep").X;\n',
    "room/a.d.ts":
      'import type { B } from "../b.ts";\nimport "xstate";\n/** `import "three";` */\nimport type { Y } from "node:fs";\n',
    "b.d.ts": "export interface B {}\n",
    "unused.d.ts": 'import type { Z } from "four";\n',
  });
  assert.equal([...keepReachable(folder, ["mod.d.ts"])].sort(), ["@libp2p/interface", "xstate"]);
  assert.equal(
    ["mod.d.ts", "room/a.d.ts", "b.d.ts", "unused.d.ts"].map((name) => existsSync(join(folder, name))),
    [true, true, true, false],
  );
});

test("an export that leads to a missing file is an error", () => {
  write({ "broken.d.ts": 'export * from "./gone.ts";\n' });
  assert.throws(() => keepReachable(folder, ["broken.d.ts"]), /ENOENT/);
});

test("a package's name has its scope and no path", () => {
  assert.is(packageOf("@libp2p/crypto/keys"), "@libp2p/crypto");
  assert.is(packageOf("effect/Result"), "effect");
});

test.run();
