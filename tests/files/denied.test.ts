/** What Deno's refusals become, wrapped or not; the messages are its own, as version 2.9 words them. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { deniedByDeno } from "../../actors/files/denied.ts";

const test = suite("deniedByDeno()");

const denied = (message: string) => Object.assign(new Error(message), { name: "NotCapable" });
const cases: [message: string, expected: string][] = [
  [
    'Requires net access to "127.0.0.1:4001", run again with the --allow-net flag',
    'Deno allows no net access to "127.0.0.1:4001": add --allow-net=127.0.0.1:4001',
  ],
  [
    'Requires read access to "/a b/c", run again with the --allow-read flag',
    'Deno allows no read access to "/a b/c": add --allow-read="/a b/c"',
  ],
  ["Requires env access, run again with the --allow-env flag", "Deno allows no env access: add --allow-env"],
  [
    "Requires read access to <CWD>, run again with the --allow-read flag",
    "Deno allows no read access to <CWD>: add --allow-read",
  ],
  ["Something else", "Deno's permissions do not allow it: Something else"],
];
for (const [message, expected] of cases) {
  test(`${message} is one sentence with the flag, however deep it lies`, () => {
    assert.is(deniedByDeno(denied(message)), expected);
    assert.is(deniedByDeno(new Error("outer", { cause: new Error("inner", { cause: denied(message) }) })), expected);
    const platform = Object.assign(new Error("platform"), { reason: { cause: denied(message) } });
    assert.is(deniedByDeno(platform), expected);
  });
}

test("what has another cause is left alone; a circle of causes ends", () => {
  const circle = new Error("round");
  circle.cause = circle;
  for (const other of [undefined, "text", new Error("no"), new Error("x", { cause: "y" }), circle]) {
    assert.is(deniedByDeno(other), undefined);
  }
});

test.run();
