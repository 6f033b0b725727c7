/**
 * The page of a trace loads nothing: it can be mailed, and opened without a network. And no seed of it is told twice.
 *
 * @module
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runScenario, type Scenario, scenarioOf } from "../../../actors/simulation/mod.ts";
import { tracePage } from "../../../scripts/simulate/trace_page.ts";
import { startBrowser } from "../../support/browser.ts";
import { needing } from "../../support/prerequisites.ts";

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

needing(test, "chromium")(
  "it plays in a browser: time runs, what comes after it is shaded, and a pause holds it",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "hypha-trace-"));
    const file = join(folder, "trace.html");
    writeFileSync(file, tracePage(await runScenario(cutShort, { keepTrace: true })));
    const browser = await startBrowser();
    try {
      const page = await browser.newPage();
      page.setDefaultTimeout(5_000);
      const faults: string[] = [];
      page.on("pageerror", ({ message }) => void faults.push(message));
      await page.goto(pathToFileURL(file).href);
      const [slider, clock, shade] = [page.getByRole("slider"), page.locator("#clock"), page.locator(".shade")];
      const seconds = async () => Number.parseFloat(await clock.textContent() ?? "");
      const end = await seconds();
      assert.is(await shade.count(), 0);
      await slider.fill("8000");
      assert.is(await seconds(), 8);
      assert.is(await shade.count(), 1);
      await page.getByRole("button", { name: "Play" }).click();
      await page.waitForFunction("Number.parseFloat(document.querySelector('#clock').textContent) > 9");
      await page.getByRole("button", { name: "Pause" }).click();
      const held = await seconds();
      await page.waitForTimeout(100);
      assert.is(await seconds(), held);
      await page.getByLabel("Speed").selectOption("100");
      await page.getByRole("button", { name: "Play" }).click();
      await page.waitForFunction("document.querySelector('.shade') === null");
      assert.is(await seconds(), end);
      assert.is(await page.getByRole("button", { name: "Play" }).count(), 1, "it stops at the end");
      assert.equal(faults, []);
    } finally {
      await browser.close();
      rmSync(folder, { recursive: true });
    }
  },
);

test.run();
