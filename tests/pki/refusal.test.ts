/**
 * Every refusal code has a test that produces it: `refusal_producers.json` names it. A new code without one fails here, and
 * so does an entry whose test went away or no longer expects the code. What cannot occur yet stands there with the reason.
 */
import { existsSync, readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  BudgetExceeded,
  CrlExpired,
  HungUp,
  type Refusal,
  type RefusalCode,
  refusalCodes,
  SelfSigned,
  withTried,
} from "../../pki/refusal.ts";
import { checkTable } from "../../pki/checks/check_table.ts";
import type { RefusalPhase } from "../../pki/refusal_row.ts";
import { refusalTable } from "../../pki/refusal_table.ts";
import { earlyCodes } from "../../actors/trust/refusal_log.ts";

interface Producer {
  readonly file: string;
  /** The beginning of the test's name, or of its row in the table that the file's tests are made of. */
  readonly test: string;
}
interface Producers {
  readonly produced: Readonly<Record<string, Producer>>;
  readonly cannotOccurYet: Readonly<Record<string, string>>;
}

const { produced, cannotOccurYet }: Producers = JSON.parse(
  readFileSync(new URL("refusal_producers.json", import.meta.url), "utf8"),
);

/** From the name of a test, or of a row, to where the next one begins. */
function bodyOf(text: string, name: string): string | undefined {
  const start = text.indexOf(name);
  if (start < 0) return undefined;
  const next = text.slice(start).search(
    /\n(?:test\(| {2}test\(|for \(| {2}\[|const |test\.run\(\)| {2}\{(?:\n| name:))/,
  );
  return next < 0 ? text.slice(start) : text.slice(start, start + next);
}

/** What is wrong with a code's entry. */
function problemOf(code: RefusalCode): string | undefined {
  const producer = produced[code];
  if (producer === undefined) return cannotOccurYet[code] === undefined ? "no test produces it" : undefined;
  if (cannotOccurYet[code] !== undefined) return "it is produced, and cannot occur";
  const file = new URL(`../../${producer.file}`, import.meta.url);
  if (!producer.file.endsWith(".test.ts") || !existsSync(file)) return `${producer.file} is no test`;
  const body = bodyOf(readFileSync(file, "utf8"), producer.test);
  if (body === undefined) return `${producer.file} has no test "${producer.test}"`;
  return body.includes(`"${code}"`) ? undefined : `the test "${producer.test}" does not expect it`;
}

const test = suite("refusals");

for (const code of refusalCodes) {
  test(`a test produces ${code}`, () => assert.is(problemOf(code), undefined));
}

test("a refusal names the path on which it arose first, where it is about a path", () => {
  const path = (serial: string) => [{ subject: { text: "CN=a" }, serial }];
  const tried = (refusal: Refusal, serial = "01") => (withTried(refusal, path(serial)) as { tried?: unknown }).tried;
  const budget = new BudgetExceeded({ what: "signatures", max: 1 });
  assert.equal(tried(budget), [{ subject: "CN=a", serial: "01" }]);
  assert.equal(tried(budget, "02"), [{ subject: "CN=a", serial: "01" }]);
  const now = new Date(0);
  assert.equal(tried(new CrlExpired({ issuer: "CN=ca", at: now, nextUpdate: now })), [{
    subject: "CN=a",
    serial: "01",
  }]);
  assert.is(tried(new HungUp({ detail: "gone" })), undefined);
  const nobody = new SelfSigned({ certificate: { subject: "", serial: "07" } });
  assert.match(nobody.message, "(no subject) (serial 07)");
});

test("the table names codes only", () => {
  const known: readonly string[] = refusalCodes;
  assert.equal([...Object.keys(produced), ...Object.keys(cannotOccurYet)].filter((code) => !known.includes(code)), []);
});

test("each class of a refusal has a code of its own in the list, and each code a class", () => {
  const text = readFileSync(new URL("../../pki/refusal.ts", import.meta.url), "utf8");
  const classes = [...text.matchAll(/export class (\w+) extends refusalClass\("([a-z-]+)"\)/g)];
  const codes = classes.map(([, , code = ""]) => code);
  for (const [, name, code] of classes) assert.is(refusalTable[code as RefusalCode].tag, name);
  assert.equal(codes.toSorted(), [...refusalCodes].toSorted());
});

test("the phases of the table are the checks, in their order, and what is no check", () => {
  const others: readonly RefusalPhase[] = ["admission", "handshake", "trust files", "job", "act", "any"];
  const phases = [...new Set(refusalCodes.map((code) => refusalTable[code].phase))];
  const checks: readonly string[] = checkTable.map(({ name }) => name);
  assert.equal(phases.filter((phase) => !others.includes(phase)).toSorted(), checks.toSorted(), "each check refuses");
  assert.equal(others.filter((phase) => !phases.includes(phase)), []);
});

test("what comes before a certificate is summed up, and nothing else", () => {
  const summed = refusalCodes.filter((code) => "logged" in refusalTable[code]);
  assert.equal(summed, ["rate-limited", "too-many-connections", "protocol-mismatch", "handshake-timeout"]);
  assert.equal([...earlyCodes].toSorted(), summed.toSorted());
});

test("a refusal has its row's tag, hint and words, and the fields that led to it", () => {
  const refusal = new BudgetExceeded({ what: "signatures", max: 7 });
  const { tag, hint } = refusalTable["budget-exceeded"];
  assert.equal([refusal._tag, refusal.code, refusal.hint], [tag, "budget-exceeded", hint]);
  assert.equal([refusal.what, refusal.max], ["signatures", 7]);
  assert.is(refusal.message, "Cannot verify chain within its budget: more than 7 signatures");
  assert.ok(refusal instanceof Error && refusal instanceof BudgetExceeded && !(refusal instanceof HungUp as boolean));
});

test("has no stack, and leaves those of other errors alone", () => {
  const refusal = new HungUp({ detail: "before TLS" });
  assert.not.ok(refusal.stack?.includes("refusal.test"));
  assert.ok(refusal.stack?.includes(refusal.message));
  assert.ok(new Error("another").stack?.includes("refusal.test"));
});

test.run();
