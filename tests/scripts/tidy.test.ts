import { suite } from "uvu";
import * as assert from "uvu/assert";
import { deadPaths, findings } from "../../scripts/tidy.ts";
import { missingRows, roomCircles } from "../../scripts/tidy/rooms.ts";
import { fileLinesMax, functionLinesMax, largeOnes, sizeFindings } from "../../scripts/tidy/sizes.ts";

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
  ["an async guard", "actors/node/node.ts", "on: { go: { guard: async () => false } }", /compute the outcome first/],
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

const node = { path: "actors/node/node.ts", text: 'import { roleMachine } from "../worker/worker.ts";' };

test("finds rooms that import each other, by a type too and by a detour", () => {
  const direct = { path: "actors/worker/worker.ts", text: 'import type { Node } from "../node/node.ts";' };
  assert.is(roomCircles([node, direct]).length, 2);
  assert.match(roomCircles([node, direct])[0] ?? "", /node.* and .*worker import each other .*move what both need/);
  const detour = [
    { path: "actors/worker/a.ts", text: 'const job = await import("../job/job.ts");' },
    { path: "actors/job/job.ts", text: 'export * from "../node/facts.ts";' },
  ];
  assert.is(roomCircles([node, ...detour]).length, 3);
});

test("lets rooms import one way, and prose name another room", () => {
  const job = { path: "actors/job/job.ts", text: '/** As in: import x from "../worker/worker.ts"; */' };
  const worker = { path: "actors/worker/worker.ts", text: 'import "../job/job.ts";\nimport "./lease.ts";' };
  assert.equal(roomCircles([node, job, worker]), []);
});

test("finds a room without a row, and no deeper folder", () => {
  const files = ["pki/a.ts", "actors/job/cell/a.ts", "scripts/check/a.ts"].map((path) => ({ path, text: "" }));
  const page = "- `pki/`: X.509\n- `actors/`, `scripts/`: more\nText that names `actors/job/` is no row.\n";
  assert.equal(missingRows(page, files), [
    "ARCHITECTURE.md:1: actors/job/ has no row in the list of rooms, write one",
  ]);
});

const linesOf = (count: number) => "//\n".repeat(count);
const long = (lines: number) => `const large = () => {\n${linesOf(lines - 2)}};\n`;

test("finds files and functions over their limit, and none at it", () => {
  const sized = (text: string) => largeOnes([{ path: "pki/a.ts", text }]);
  assert.equal(sized(linesOf(fileLinesMax)), {});
  assert.equal(sized(linesOf(fileLinesMax + 1)), { "pki/a.ts": fileLinesMax + 1 });
  assert.equal(sized(long(functionLinesMax)), {});
  assert.equal(sized(long(functionLinesMax + 1)), { "pki/a.ts#large": functionLinesMax + 1 });
});

test("sizes only shrink: what is new, grown, smaller or gone is found", () => {
  const allowed = { "pki/a.ts": 500, "pki/a.ts#f": 90 };
  assert.equal(sizeFindings(allowed, allowed), []);
  assert.match(
    sizeFindings({ ...allowed, "pki/b.ts": 401 }, allowed)[0] ?? "",
    /pki\/b\.ts:1: this file has 401 lines/,
  );
  assert.match(sizeFindings({ ...allowed, "pki/a.ts#f": 91 }, allowed)[0] ?? "", /f has grown from 90 to 91 lines/);
  assert.match(sizeFindings({ ...allowed, "pki/a.ts": 450 }, allowed)[0] ?? "", /has 450 lines, lower its 500/);
  assert.match(sizeFindings({ "pki/a.ts": 500 }, allowed)[0] ?? "", /pki\/a\.ts#f is not too large any more/);
});

test.run();
