import { suite } from "uvu";
import * as assert from "uvu/assert";
import { deadPaths, findings, lostPages } from "../../scripts/tidy.ts";

const test = suite("tidy");

const planted: [name: string, path: string, text: string, expected: RegExp][] = [
  ["pki importing transport", "pki/a.ts", 'import { x } from "../transport/x.ts";', /pki\/ must not import transport/],
  [
    "transport importing actors",
    "transport/a.ts",
    'import type { x } from "../actors/x.ts";',
    /must not import actors/,
  ],
  ["actors importing scripts", "actors/job/a.ts", 'import { x } from "../../scripts/x.ts";', /must not import scripts/],
  ["the clock in pki", "pki/a.ts", "const at = Date.now();", /take the time as an argument/],
  ["new Date() in pki", "pki/a.ts", "const at = new Date();", /take the time as an argument/],
  ["Math.random for an identifier", "actors/a.ts", "const id = String(Math.random());", /use ports/],
  ["createActor outside supervise.ts", "actors/node/node.ts", "createActor(machine).start();", /use superviseRoot/],
  ["a skipped test", "tests/a.test.ts", 'test.skip("x", () => {});', /skipped proves nothing/],
  ["fromPromise", "actors/node/node.ts", "invoke: fromPromise(load)", /use fromEffect/],
  ["the parent by xstate's own field", "actors/node/node.ts", "self._parent?.send(event);", /take the parent as input/],
  [
    "an action that asks for its event",
    "actors/node/node.ts",
    'if (event.type !== "peer.closed") return;',
    /take the event's data as params/,
  ],
  ["an async guard", "actors/node/node.ts", "on: { go: { guard: async () => false } }", /compute the outcome first/],
  ["a timer in the core", "transport/core/a.ts", "setTimeout(run, 5);", /use the Clock/],
  ["a promise in the core", "transport/core/a.ts", "const b = await c;", /use the Clock/],
  ["a promise in virtual time", "transport/simulated/a.ts", "return new Promise(resolve);", /use the Clock/],
  ["libp2p in the core", "transport/core/a.ts", 'import type { Stream } from "@libp2p/interface";', /behind the Wire/],
  ["console in a room", "transport/a.ts", 'console.log("x");', /use ports.report/],
  [
    "a job's file opened elsewhere",
    "actors/job/bridge/a.ts",
    'import { openSync } from "node:fs";',
    /use its WorkDirectory/,
  ],
  ["test.only", "tests/a.test.ts", 'test.only("x", () => {});', /hides the other tests/],
  ["the Deno global", "scripts/a.ts", "Deno.exit(0);", /use node: modules/],
  ["a name that says nothing", "pki/utils.ts", "export {};", /name the file for its topic/],
  ["a note to self", "pki/a.ts", "// TODO later", /do it now/],
  ["a suite that never runs", "tests/a.test.ts", 'const test = suite("x");', /never runs/],
  [
    "a test that returns at once",
    "tests/a.test.ts",
    'test("x", async () => {\n  if (!isRoot) return;\n  assert.ok(false);\n});',
    /returns at once passes untested/,
  ],
  [
    "one of a suite that needs a program",
    "tests/a.test.ts",
    'needing(test, "sh")("x", () => {\n  if (system === undefined) return; // none here\n});',
    /returns at once passes untested/,
  ],
  [
    "one that needs a program and never runs",
    "tests/a.test.ts",
    'const test = needing(suite("x"), "openssl");',
    /never runs/,
  ],
];

for (const [name, path, text, expected] of planted) {
  test(`finds ${name}`, () => {
    const found = findings([{ path, text: `\n${text}` }]);
    assert.is(found.length, 1, JSON.stringify(found));
    assert.match(found[0] ?? "", expected);
  });
}

const allowed: [name: string, path: string, text: string][] = [
  ["imports in the right direction", "actors/a.ts", 'import { x } from "../pki/x.ts";'],
  ["a PeerID in the core", "transport/core/a.ts", 'import { peerIdFromString } from "@libp2p/peer-id";'],
  ["a promise of the libp2p wire", "transport/libp2p/a.ts", "const b = await c;"],
  ["prose that names a banned thing", "pki/a.ts", "// not Date.now(), since time is an argument"],
  ["createActor in supervise.ts", "actors/runtime/supervise.ts", "createActor(logic).start();"],
  ["console in scripts", "scripts/a.ts", "console.log(1);"],
];

for (const [name, path, text] of allowed) {
  test(`lets pass ${name}`, () => {
    assert.equal(findings([{ path, text }]), []);
  });
}

test("finds a path of ARCHITECTURE.md that does not exist", () => {
  const page = "see `pki/path.ts` and `pki/gone.ts`";
  assert.equal(deadPaths(page, (path) => path === "pki/path.ts"), [
    "ARCHITECTURE.md:1: pki/gone.ts does not exist, correct the path",
  ]);
});

test("finds pages that are not in the tree: comments named pages of another folder", () => {
  const exists = (path: string) => path === "docs/wire.md";
  const text =
    '/** As in `docs/wire.md`, wire.md and design.md. */\nconst page = new URL("../docs/gone.md", import.meta.url);\n';
  const lost = (path: string, ...names: readonly string[]) =>
    names.map((name) => `${path}:1: ${name} is no page of this tree, name its whole path, as in docs/wire.md`);
  assert.equal(lostPages([{ path: "pki/a.ts", text }], exists), lost("pki/a.ts", "wire.md", "design.md"));
  assert.equal(lostPages([{ path: "tests/a.test.ts", text }], exists), lost("tests/a.test.ts", "wire.md", "design.md"));
  const source = 'const source = "targets.md, R7";';
  assert.equal(lostPages([{ path: "scripts/a.ts", text: source }], exists), lost("scripts/a.ts", "targets.md"));
  assert.equal(lostPages([{ path: "tests/a.test.ts", text: source }], exists), []);
});

test.run();
