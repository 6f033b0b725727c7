/** Items by key: none is lost beside another, and no empty group stays. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Groups } from "../../../transport/core/groups.ts";

const test = suite("Groups");

test("items of one key stay in their order, apart from those of another", () => {
  const groups = new Groups<string, number>();
  for (const [key, item] of [["a", 1], ["b", 2], ["a", 3]] as const) groups.add(key, item);
  assert.equal([groups.get("a"), groups.get("b"), groups.get("c")], [[1, 3], [2], undefined]);
  assert.equal([[...groups.keys()], [...groups.values()]], [["a", "b"], [[1, 3], [2]]]);
});

test("removing tells when a key has no item left; an item that is not there removes no other", () => {
  const groups = new Groups<string, number>();
  groups.add("a", 1);
  groups.add("a", 2);
  assert.is(groups.remove("a", 3), false);
  assert.equal(groups.get("a"), [1, 2]);
  assert.is(groups.remove("a", 1), false);
  assert.is(groups.remove("a", 2), true);
  assert.is(groups.has("a"), false);
  assert.is(groups.remove("a", 2), true);
});

test.run();
