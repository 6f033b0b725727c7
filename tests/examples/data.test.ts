/** `docs/data.md`: its commands make a data set that a data node serves, and its log events exist. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { scanDataset } from "../../actors/data/slices_directory.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { needing } from "../support/prerequisites.ts";
import { blocksOf } from "../support/shell_session.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const page = "docs/data.md";
const folder = mkdtempSync(join(tmpdir(), "hypha-data-page-"));

const test = suite(page);
test.after(() => rmSync(folder, { recursive: true, force: true }));

needing(test, "bash", "awk", "split")("its commands prepare a data set", async () => {
  // bug: the commands failed in a clone whose path has a blank.
  const tree = join(folder, "the clone");
  symlinkSync(root, tree);
  const env = { ...process.env, TREE: tree };
  let printed = "";
  for (const { language, text } of blocksOf(page, "Prepare a data set")) {
    if (language === "sh") printed = execFileSync("bash", ["-e", "-c", text], { cwd: folder, env, encoding: "utf8" });
    else assert.is(printed, text);
  }
  const { name, slices, empty } = await Effect.runPromise(
    Effect.provide(scanDataset(join(folder, "data/digits")), realServices),
  );
  assert.is(name, "digits");
  assert.is(slices.length, 15);
  assert.equal(empty, []);
  const rows = (...path: readonly string[]) => readFileSync(join(folder, ...path), "utf8").trim().split("\n");
  const all = [...slices.flatMap((slice) => rows("data/digits", slice)), ...rows("held-out.csv")];
  const digits = readFileSync(join(root, "tests/fixtures/digits.csv"), "utf8").trim().split("\n");
  assert.equal(all.toSorted(), digits.toSorted(), "each row once, held out or in a slice");
  assert.equal(rows("shuffled.csv").toSorted(), digits.toSorted());
});

test("names log events that exist", () => {
  const table = [...readFileSync(join(root, page), "utf8").matchAll(/^\| `([a-z.]+)`/gm)].map(([, event]) =>
    event ?? ""
  );
  const source = readdirSync(join(root, "actors"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => readFileSync(join(root, "actors", file), "utf8"))
    .join("\n");
  assert.is(new Set(table).size, 7);
  for (const event of table) assert.ok(source.includes(`"${event}"`), event);
});

test.run();
