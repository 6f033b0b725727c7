import { suite } from "uvu";
import * as assert from "uvu/assert";
import { packagesOf, undeclaredImports } from "../../../scripts/tidy/packages.ts";

const test = suite("undeclaredImports()");
const manifest = {
  dependencies: { effect: "^4.0.0", "@libp2p/tcp": "1.0.0" },
  devDependencies: { uvu: "^0.5.0", multiformats: "^14.0.0" },
};
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

test("a package that a file imports is declared (uint8arrays was not)", () => {
  const text = 'import { concat } from "uint8arrays";';
  for (const path of ["mod.ts", "pki/a.ts", "scripts/program/a.ts", "scripts/tidy.ts", "tests/a.test.ts"]) {
    assert.equal(found(path, text), [`${path}:1: uint8arrays is not declared, add it to package.json`]);
  }
  assert.equal(found("pki/a.ts", 'import { Effect } from "effect";'), []);
});

test("the package takes in packages for development, but none for tools and tests", () => {
  assert.equal(found("pki/a.ts", 'import "multiformats";'), []);
  const text = 'import { suite } from "uvu";';
  assert.equal(found("tests/pki/a.test.ts", text), []);
  assert.equal(found("scripts/tidy.ts", text), []);
  for (const path of ["mod.ts", "pki/a.ts", "actors/job/a.ts", "scripts/program/a.ts", "scripts/hypha_worker.ts"]) {
    const line = `${path}:1: uvu is for tools and tests, import it from none that the package is made of`;
    assert.equal(found(path, text), [line]);
  }
});

test.run();
