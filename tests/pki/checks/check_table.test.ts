/**
 * The one table of checks: what runs in its order, what stops it, and that no other place has an order of its own.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { connectionGateMachine } from "../../../actors/gate/connection_gate.ts";
import { checkByCheck } from "../../../actors/certutil/check_by_check.ts";
import {
  type CheckFunctions,
  type CheckName,
  type CheckScope,
  checksOf,
  checkTable,
  type Evidence,
  firstRefusal,
  holds,
  type Outcomes,
  pkiChecks,
  runChecks,
} from "../../../pki/checks/check_table.ts";
import { verifyPath, verifyStepByStep } from "../../../pki/path.ts";
import { Unreachable } from "../../../pki/refusal.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../../pki/trust.ts";
import { at, forge } from "../../support/forge.ts";

const test = suite("the table of checks");

/** Written by hand: a check that is moved or taken out of the table is noticed here. */
const expected: readonly CheckName[] = [
  "tlsVersion",
  "wellFormed",
  "algorithm",
  "path",
  "validity",
  "revocation",
  "expectedName",
  "identity",
  "role",
];
const chainNames = expected.filter((name) => name !== "tlsVersion" && name !== "expectedName");

const root = forge("root", { ca: true });
const leaf = forge("leaf", { issuer: root, san: ["DNS:leaf.example", "URI:spiffe://acme/worker/leaf"] });
const { snapshot } = Result.getOrThrow(
  makeTrustSnapshot({ trustPem: root.pem, crlsPem: undefined, policy: defaultPolicy, generation: 1, at }),
);
const evidence = (more: Partial<Evidence> = {}): Evidence => ({
  version: "TLSv1.3",
  chain: [leaf.der],
  snapshot,
  terms: { at: () => at, expectedName: { type: "dns", value: "leaf.example" } },
  ...more,
});
const namesOf = (outcomes: Outcomes) => Object.keys(outcomes);

test("has every check once, in this order, each with a question", () => {
  assert.equal(checkTable.map(({ name }) => name), expected);
  assert.equal(Object.keys(pkiChecks).toSorted(), expected.toSorted());
  for (const { question } of checkTable) assert.match(question, /^[A-Z].*\?$/);
});

test("a scope's rows are in the table's order: the chain's for everybody, one for connections, one for names", () => {
  const names = (...scopes: readonly CheckScope[]) => checksOf(...scopes).map(({ name }) => name);
  assert.equal(names("chain"), chainNames);
  assert.equal(names("connection"), ["tlsVersion"]);
  assert.equal(names("name"), ["expectedName"]);
  assert.equal(names("name", "chain", "connection"), expected);
});

test("runs every check of the list given, each with the proofs before it", () => {
  const outcomes = runChecks(checkTable, evidence(), (check, seen) => check.run(seen, pkiChecks));
  assert.equal(namesOf(outcomes), expected);
  assert.is(firstRefusal(checkTable, outcomes), undefined);
  assert.ok(holds(outcomes.identity) && outcomes.identity.success.name === "leaf");
});

for (const [index, name] of expected.entries()) {
  test(`stops behind ${name} where it does not hold`, () => {
    const refusal = new Unreachable({ detail: name });
    const functions = { ...pkiChecks, [name]: () => Result.fail(refusal) } as CheckFunctions;
    const outcomes = runChecks(checkTable, evidence(), (check, seen) => check.run(seen, functions));
    assert.equal(namesOf(outcomes), expected.slice(0, index + 1));
    assert.is(firstRefusal(checkTable, outcomes), refusal);
  });

  test(`a verification without the outcome of ${name} is refused`, () => {
    const outcomes = runChecks(checkTable, evidence(), (check, seen) => check.run(seen, pkiChecks));
    const refusal = firstRefusal(checkTable, { ...outcomes, [name]: undefined });
    assert.is(refusal?.code, "internal");
    assert.match(refusal?.message ?? "", name);
  });
}

test("a check that runs without the proof it needs throws: the caller's order is wrong", () => {
  const needing: readonly CheckName[] = [
    "algorithm",
    "path",
    "validity",
    "revocation",
    "expectedName",
    "identity",
    "role",
  ];
  for (const { name, run } of checkTable) {
    const bare = () => void run(evidence(), pkiChecks);
    if (needing.includes(name)) assert.throws(bare, /proved nothing/, name);
    else bare();
  }
});

test("verifyPath runs the chain's checks, and that of a name only where one is asked for", () => {
  const steps = (options = {}) => verifyStepByStep([leaf.der], snapshot, { at, ...options });
  assert.equal(namesOf(steps().outcomes), chainNames);
  const named = steps({ expectedName: { type: "dns", value: "other.example" } });
  assert.equal(namesOf(named.outcomes), expected.slice(1, expected.indexOf("expectedName") + 1));
  assert.is(Result.isFailure(named.verdict) && named.verdict.failure.code, "name-mismatch");
  assert.equal(steps().verdict, verifyPath([leaf.der], snapshot, { at }));
});

test("both compounds of the gate have one state for each check of a connection, in the table's order", () => {
  const gateNames = expected.filter((name) => name !== "expectedName");
  const states = gateNames.map((name) => `checking${name.charAt(0).toUpperCase()}${name.slice(1)}`);
  for (const compound of ["verifying", "reverifying"] as const) {
    const node = connectionGateMachine.root.states[compound];
    assert.equal(Object.keys(node?.states ?? {}), states);
    assert.is(node?.initial?.target?.[0]?.key, states[0]);
  }
});

test("hypha-certutil verify tells of the same checks, in the same order", () => {
  const { outcomes } = verifyStepByStep([leaf.der], snapshot, { at });
  const told = checkByCheck(outcomes, snapshot).map(({ check }) => check === "form" ? "wellFormed" : check);
  assert.equal(told, chainNames);
});

const page = (name: string) => readFileSync(new URL(`../../../${name}`, import.meta.url), "utf8");

test("the drawing in ARCHITECTURE has the checks of a connection, in the table's order", () => {
  const drawing = /admitting ─▶ securing ─▶ verifying[^]*?```/.exec(page("ARCHITECTURE.md"))?.[0] ?? "";
  const rows = [...drawing.matchAll(/^ +│ +│ +((?:→ )?[a-zA-Z]+(?: → [a-zA-Z]+)*)/gm)].map(([, row = ""]) => row);
  const drawn = rows.flatMap((row) => row.split(/[ →]+/)).filter((name) => /^[a-z]/.test(name));
  assert.equal(drawn, checksOf("connection", "chain").map(({ name }) => name));
});

test.run();
