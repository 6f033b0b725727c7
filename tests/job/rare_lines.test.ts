/** Lines that a job can cause as often as it likes. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { rareLines } from "../../actors/job/rare_lines.ts";
import type { Report } from "../../actors/runtime/ports.ts";

const test = suite("rareLines()");

/** The lines of the level `info` among those of a job, with the clock at `now`. */
function make() {
  const infos: Report[] = [];
  const clock = { now: 0 };
  const report = rareLines((line) => void (line.level === "info" && infos.push(line)), () => clock.now);
  const fetched = (path: string) => report({ level: "info", event: "job.fetched", message: path, fields: { path } });
  return { infos, clock, fetched };
}

test("bug: lines beyond 256 in a minute were not counted; the next line has their number", () => {
  const { infos, clock, fetched } = make();
  for (let file = 0; file < 300; file++) fetched(`f${file}`);
  assert.is(infos.length, 256);
  assert.is(infos.at(-1)?.fields?.["unreported"], undefined);
  clock.now = 59_999;
  fetched("late");
  assert.is(infos.length, 256);
  clock.now = 60_000;
  fetched("next");
  const { message, fields } = infos.at(-1) as Report;
  assert.equal([infos.length, fields], [257, { path: "next", untold: 0, unreported: 45 }]);
  assert.match(message, /\b45\b/);
  fetched("another");
  assert.equal(infos.at(-1)?.fields, { path: "another", untold: 0 });
  assert.is(infos.at(-1)?.message, "another");
});

test.run();
