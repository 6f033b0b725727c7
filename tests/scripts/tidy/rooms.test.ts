import { suite } from "uvu";
import * as assert from "uvu/assert";
import { largeRooms, roomCircles, rowFindings } from "../../../scripts/tidy/rooms.ts";

const test = suite("rooms");

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

const treeOf = (...paths: readonly string[]) => paths.map((path) => ({ path, text: "" }));

test("finds folders without a row, however deep: a room's own folders had none", () => {
  const files = treeOf("mod.ts", "pki/a.ts", "transport/protocols/a.ts", "actors/job/cell/a.ts", "scripts/check/a.ts");
  const page =
    "- `pki/`: X.509\n- `actors/`, `scripts/`, `transport/`: more\nText that names `actors/job/` is no row.\n";
  const missing = ["actors/job/", "actors/job/cell/", "transport/protocols/"];
  assert.equal(
    rowFindings(page, files),
    missing.map((folder) => `ARCHITECTURE.md:1: ${folder} has no row in the list of rooms, write one`),
  );
});

test("finds rows of folders that hold no file", () => {
  const page = "- `pki/`, `pki/old/`: X.509\n- `actors/`: actors\n- `actors/turning/`: gone\n";
  assert.equal(
    rowFindings(page, treeOf("pki/a.ts", "actors/mod.ts")),
    ["actors/turning/", "pki/old/"].map((folder) =>
      `ARCHITECTURE.md:1: ${folder} has a row in the list of rooms and no file, take it out`
    ),
  );
});

test("finds a room of actors over a fifth of the source, and none at it", () => {
  const file = (path: string, lines: number) => ({ path, text: "\n".repeat(lines) });
  const rest = [file("pki/a.ts", 700), file("actors/node/node.ts", 100), file("tests/pki/a.test.ts", 9_000)];
  assert.equal(largeRooms([...rest, file("actors/job/a.ts", 150), file("actors/job/cell/a.ts", 50)]), []);
  assert.equal(largeRooms([...rest, file("actors/job/a.ts", 150), file("actors/job/cell/a.ts", 52)]), [
    "actors/job/:1: this room holds 20 % of the source, more than 20: split it",
  ]);
});

test.run();
