// Hostile executors in real cells, in short: `npm run attack -- cell` is the long form.
import { readFileSync } from "node:fs";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type CellReport, runCellAttacks } from "../../../scripts/attack/cell.ts";
import { attacks } from "../../../scripts/attack/cell/attacks.ts";
import { expectationOf, outcomes, places } from "../../../scripts/attack/cell/expected.ts";
import { tableOf, withTable } from "../../../scripts/attack/cell/table.ts";
import { isFullCell, needing } from "../../support/prerequisites.ts";

const runtime = process.versions["deno"] === undefined ? "node" : "deno";
const isRoot = process.getuid?.() === 0;
const quiet = true;
/** What takes long by itself is left to the long form. */
const short = [
  ...["read-shadow", "worker-key", "other-job", "write-outside", "plant-links", "inherit-descriptor"],
  ...["network", "abstract-socket", "see-processes", "debug-worker", "gain-privileges", "read-environment"],
  ...["fork-bomb", "memory-bomb", "file-size-bomb", "disk-bomb", "inode-bomb", "descriptor-bomb"],
  ...["daemonise", "ignore-term", "graceful-stop", "denied-address", "redirect-inside", "out-of-scope", "other-bridge"],
  ...["huge-body", "many-headers", "hostile-neighbour", "hostile-names", "million-peers", "swapped-while-read"],
  ...["hostile-paths"],
  ...["unlisted-device", "sys-write", "shm-bomb", "passwd-tricks", "cache-poisoning"],
];

const test = suite("attacks on cells");
/** Hostile programs of more than a line are written for Node. */
const withNode = needing(test, "node");

const deviations = ({ attacks }: CellReport) =>
  attacks.filter(({ expected, held }) => held !== (expected === "held")).map(({ id, seen }) => `${id}: ${seen}`);

withNode("at the strongest level everything comes as the data file says; as root at full, all are held", async () => {
  const report = await runCellAttacks({
    runtime,
    level: "-",
    user: isRoot ? "root" : "user",
    scale: 0.005,
    ids: short,
    quiet,
  });
  if (report === undefined) throw new Error("Cannot attack: nothing was run");
  assert.equal(deviations(report), []);
  assert.equal([report.exits, report.unhandled, report.attacks.length], [0, 0, short.length]);
  assert.is(report.ok, true);
  if (isFullCell(report.level) && isRoot) assert.ok(report.attacks.every(({ held }) => held));
});

// Anybody else than root is the ordinary user of the test above.
if (isRoot) {
  withNode("the same as an ordinary user, where root can become one", async () => {
    const ids = ["read-shadow", "worker-key", "other-job", "write-outside", "network", "see-processes", "daemonise"];
    const report = await runCellAttacks({ runtime, level: "-", user: "user", scale: 0.005, ids, quiet });
    if (report === undefined) throw new Error("Cannot attack: nothing was run");
    assert.equal(deviations(report), []);
    if (isFullCell(report.level)) assert.ok(report.attacks.every(({ held }) => held));
  });
}

withNode("without a cell the attacks succeed: they can fail, and the file says which", async () => {
  const ids = ["network", "abstract-socket", "see-processes"];
  const report = await runCellAttacks({ runtime, level: "bare", user: "user", scale: 0.005, ids, quiet });
  if (report === undefined) throw new Error("Cannot attack: bare is always there");
  assert.equal(deviations(report), []);
  assert.equal(report.attacks.map(({ held }) => held), [false, false, false]);
});

test("the data file says of every attack, everywhere, held or the reason; as root at full all are held", () => {
  assert.equal([...outcomes.keys()].toSorted(), attacks.map(({ id }) => id).toSorted());
  for (const [id, { held, notHeld }] of outcomes) {
    assert.equal([...held, ...Object.keys(notHeld)].toSorted(), [...places].toSorted(), id);
    assert.is(expectationOf(id, "full", "root")?.held, true, id);
    for (const reason of Object.values(notHeld)) assert.ok(reason.length > 10, id);
  }
  assert.is(expectationOf("no such attack", "full", "root"), undefined);
});

test("the table of docs/security.md is the data file's", () => {
  const page = readFileSync(new URL("../../../docs/security.md", import.meta.url), "utf8");
  assert.is(withTable(page, tableOf()), page, "run: npm run outcomes");
});

test.run();
