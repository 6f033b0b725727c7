/**
 * No capture is unread: `captures.json` says of each file how its rows come out and which tests read it. A file or a row
 * that was added, changed or taken away fails here until a test reads it and the table says so; the tests named there
 * assert the same counts while they read.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";

interface Entry {
  readonly sha256: string;
  /** How many rows end how. */
  readonly rows: Readonly<Record<string, number>>;
  readonly readBy: readonly string[];
}

const table: Readonly<Record<string, Entry>> = JSON.parse(
  readFileSync(new URL("captures.json", import.meta.url), "utf8"),
);
const folder = new URL("../vectors/wire/", import.meta.url);
const test = suite("captures, all of them");

test("each file of the folder is in the table, and no other", () => {
  assert.equal(readdirSync(folder).sort(), Object.keys(table).map((name) => `${name}.json`).sort());
});

/** Parts of `bridge.json` beside its exchanges; the tests that read them name them. */
const bridgeParts = ["environment", "args_template", "args", "job_json", "modes", "file_modes"];

for (const [name, { sha256, rows, readBy }] of Object.entries(table)) {
  test(`${name}: as captured, each row with its outcome, read by a test`, () => {
    const text = readFileSync(new URL(`${name}.json`, folder));
    assert.is(createHash("sha256").update(text).digest("hex"), sha256);
    const content: unknown = JSON.parse(text.toString());
    const { exchanges, ...rest } = Array.isArray(content)
      ? { exchanges: content }
      : content as { exchanges: unknown[] };
    assert.is(Object.values(rows).reduce((sum, count) => sum + count, 0), exchanges.length);
    const readers = readBy.map((path) => new URL(`../../${path}`, import.meta.url));
    assert.ok(readers.length > 0 && readers.every((path) => existsSync(path)));
    const source = readers.map((path) => readFileSync(path, "utf8")).join("");
    assert.ok(source.includes(`${name}.json`) || source.includes(`"${name}"`), "its readers name it");
    if (name === "bridge") assert.equal(Object.keys(rest), bridgeParts);
    for (const part of Object.keys(rest)) assert.match(source, `vectors.${part}`);
  });
}

test.run();
