import { suite } from "uvu";
import * as assert from "uvu/assert";
import { knownForks } from "../../actors/witness/known_forks.ts";
import { forkedLog } from "../support/held_heads.ts";

const test = suite("knownForks()");

test("forks that were found at one time are shown by the names of their logs", () => {
  const forks = ["b", "c", "a"].map((name) => forkedLog(`a/audit/worker/${name}`, 5_000));
  const shown = knownForks(forks, (origin) => origin).map(({ file }) => file);
  assert.equal(shown, ["a", "b", "c"].map((name) => `a/audit/worker/${name}`));
});

test.run();
