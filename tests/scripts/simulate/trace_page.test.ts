/**
 * The page of a trace loads nothing: it can be mailed, and opened without a network. And no seed of it is told twice.
 *
 * @module
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runScenario, type Scenario, scenarioOf } from "../../../actors/simulation/mod.ts";
import { tracePage } from "../../../scripts/simulate/trace_page.ts";

const test = suite("trace page");

/** A run that is cut short violates `live-job`. */
const cutShort: Scenario = { ...scenarioOf(0), quietMs: 1_000, troubleMs: 20_000 };

test("the page is self-contained, names every node and marks the violation", async () => {
  const result = await runScenario(cutShort, { keepTrace: true });
  const page = tracePage(result);
  assert.not.match(
    page,
    /<(link|img|iframe|script)[^>]*\b(src|href)=|@import|url\(|\bfetch\(|import\(|XMLHttpRequest/i,
  );
  const addresses = (page.match(/https?:\/\/[^"' )]+/g) ?? []).filter((each) => each !== "http://www.w3.org/2000/svg");
  assert.equal(addresses, []);
  for (const { name } of cutShort.nodes) assert.ok(page.includes(`"${name}"`), name);
  assert.ok(page.includes('"kind":"violation"') && page.includes("live-job"));
  assert.is(page.split("<script>").length, 2);
});

test("what a trace says cannot become markup", async () => {
  const result = await runScenario(cutShort, { keepTrace: true });
  const lines = [{ at: 0, node: "</script><b>", kind: "report", text: "info </script><script>alert(1)" } as const];
  const page = tracePage({ ...result, lines });
  assert.is(page.split("</script>").length, 2);
});

test.run();
