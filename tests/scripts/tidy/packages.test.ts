import { suite } from "uvu";
import * as assert from "uvu/assert";
import { packagesOf, undeclaredImports } from "../../../scripts/tidy/packages.ts";

const test = suite("undeclaredImports()");
const manifest = { dependencies: { effect: "^4.0.0", "@libp2p/tcp": "1.0.0" }, devDependencies: { uvu: "^0.5.0" } };
const found = (path: string, text: string) => undeclaredImports([{ path, text }], manifest);

test("reads every form of import, and no relative one, no runtime's own, none of a comment's example", () => {
  const text = [
    'import "reflect-metadata";',
    'import { a } from "@libp2p/tcp/deep";',
    "import {",
    "  b,",
    '} from "effect";',
    'export * from "xstate";',
    'const c = await import("multiformats/cid");',
    'import { d } from "./d.ts";',
    'import { readFileSync } from "node:fs";',
    'import { e } from "hypha-runtime/pki";',
    ' * import { f } from "@scope/example";',
  ].join("\n");
  assert.equal(packagesOf(text), ["reflect-metadata", "@libp2p/tcp", "effect", "xstate", "multiformats"]);
});

test("a package that a shipped file imports is a dependency (uint8arrays was not)", () => {
  const text = 'import { concat } from "uint8arrays";';
  for (const path of ["mod.ts", "pki/a.ts", "actors/job/a.ts", "scripts/program/a.ts", "scripts/hypha_worker.ts"]) {
    const line = `${path}:1: uint8arrays is not declared, add it to dependencies of package.json`;
    assert.equal(found(path, text), [line]);
  }
  assert.equal(found("pki/a.ts", 'import { Effect } from "effect";'), []);
});

test("packages for development are for tools and tests only", () => {
  const text = 'import { suite } from "uvu";';
  assert.equal(found("tests/pki/a.test.ts", text), []);
  assert.equal(found("scripts/tidy.ts", text), []);
  assert.is(found("pki/a.ts", text).length, 1);
  assert.match(found("tests/a.test.ts", 'import x from "sinon";')[0] ?? "", "dependencies or devDependencies");
});

test.run();
