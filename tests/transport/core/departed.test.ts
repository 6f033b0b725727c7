/** Members that left are remembered for a while, and are bounded in number. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Departed, departedMax, departedMs } from "../../../transport/core/departed.ts";
import { identityOf } from "../../support/played_session.ts";

const test = suite("Departed");

function departed() {
  let now = 0;
  const members = new Departed(() => now);
  return { members, pass: (ms: number) => now += ms, names: () => members.list().map(({ identity }) => identity.peer) };
}

test("a member that left is remembered until it returns, or for a while", () => {
  const { members, pass, names } = departed();
  members.left(identityOf("a"));
  pass(1);
  members.left(identityOf("b"));
  members.left(identityOf("c"));
  members.returned(identityOf("c"));
  assert.equal(names(), ["a", "b"]);
  pass(departedMs - 1);
  assert.equal(names(), ["b"]);
  pass(1);
  assert.equal(names(), []);
});

test("one that left again is behind those that left before: they are forgotten first", () => {
  const { members, pass, names } = departed();
  members.left(identityOf("a"));
  pass(1);
  members.left(identityOf("b"));
  pass(1);
  members.left(identityOf("a"));
  pass(departedMs - 1);
  assert.equal(names(), ["a"]);
});

test("leaving again counts from then, and another role of one key is another member", () => {
  const { members, pass, names } = departed();
  members.left(identityOf("a", { role: "worker" }));
  pass(10);
  members.left(identityOf("a", { role: "scheduler" }));
  members.left(identityOf("a", { role: "worker" }));
  pass(departedMs - 1);
  assert.equal(names(), ["a", "a"]);
});

test("so many are remembered and no more: the first to leave is forgotten first", () => {
  const { members, names } = departed();
  for (let nth = 0; nth <= departedMax; nth++) members.left(identityOf(`p${nth}`));
  assert.equal([names().length, names()[0]], [departedMax, "p1"]);
});

test.run();
