/** A test file mirrors a source file, lies in a folder with a reason, or is in a list that may only shrink. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { mirrorFindings, otherTests } from "../../../scripts/tidy/mirrors.ts";

const test = suite("mirrorFindings()");
/** Each folder with a reason holds a test. */
const others = Object.keys(otherTests).map((folder) => `tests/${folder}/any_name.test.ts`);
const tree = (...paths: readonly string[]) => [...others, ...paths].map((path) => ({ path, text: "" }));

const mirrors: [source: string, test: string][] = [
  ["actors/gate/gate.ts", "tests/gate/gate.test.ts"],
  ["actors/job/bridge/web.ts", "tests/job/bridge/web.test.ts"],
  ["pki/pem.ts", "tests/pki/pem.test.ts"],
  ["pki/checks/revocation.ts", "tests/pki/checks/revocation.test.ts"],
  ["transport/core/dialing.ts", "tests/transport/core/dialing.test.ts"],
  ["scripts/tidy.ts", "tests/scripts/tidy.test.ts"],
  ["actors/gate/gate.ts", "tests/gate/gate_fail_closed.test.ts"],
];
for (const [source, file] of mirrors) {
  test(`${file} mirrors ${source}, and nothing without it`, () => {
    assert.equal(mirrorFindings(tree(source, file), []), []);
    const [finding = "", ...more] = mirrorFindings(tree(file), []);
    assert.equal(more, []);
    assert.match(finding, `${file}:1: no source file has this name`);
  });
}

const lost: [why: string, source: string, test: string][] = [
  ["the file lies in another folder", "pki/checks/revocation.ts", "tests/pki/revocation.test.ts"],
  ["the folder actors is left out", "actors/gate/gate.ts", "tests/actors/gate/gate.test.ts"],
  ["an aspect stands behind a whole word", "pki/path.ts", "tests/pki/paths.test.ts"],
  ["an aspect stands behind the name", "pki/path.ts", "tests/pki/long_path.test.ts"],
  ["the file lies in no folder", "pki/path.ts", "tests/path.test.ts"],
  ["helpers of tests are no source", "tests/support/gates.ts", "tests/support/gates.test.ts"],
];
for (const [why, source, file] of lost) {
  test(`finds ${file}: ${why}`, () => {
    assert.match(mirrorFindings(tree(source, file), [])[0] ?? "", `${file}:1:`);
  });
}

test("the list of exceptions only shrinks: what mirrors a file now, or is gone, is taken out", () => {
  const [known, gone] = ["tests/transport/socket.test.ts", "tests/transport/gone.test.ts"];
  assert.equal(mirrorFindings(tree(known), [known]), []);
  assert.equal(mirrorFindings(tree(known, "transport/socket.ts"), [known, gone]), [
    `scripts/tidy/mirrors.json:1: ${known} mirrors a source file now, take it out`,
    `scripts/tidy/mirrors.json:1: ${gone} does not exist, take it out`,
  ]);
});

test("a folder with a reason that holds no test is found", () => {
  const files = tree().filter(({ path }) => !path.startsWith("tests/tree/"));
  assert.match(mirrorFindings(files, []).join(), "tests/tree/ holds no test");
});

test.run();
