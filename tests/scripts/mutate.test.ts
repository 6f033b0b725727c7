/** `npm run mutate` on a tree of one module: what a test notices, what it does not, and what the list of survivors says. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runCommand } from "../../scripts/check/command.ts";
import { applied, mutantsOf } from "../../scripts/mutate/mutants.ts";
import type { MutationReport } from "../../scripts/mutate/report.ts";

const test = suite("npm run mutate");

const operators: [name: string, source: string, mutated: string[]][] = [
  ["a guard taken away", "if (x) stop();", ["if ((true)) stop();", "if ((false)) stop();", "if (x) ;"]],
  ["a boundary and a constant", "f = a < 10;", ["f = (a <= 10);", "f = (a >= 10);", "f = a < 11;", "f = a < 9;", ";"]],
  ["parts of a condition", "f = a && b;", ["f = (a);", "f = (b);", "f = ((a) || (b));", ";"]],
  ["a negation", "f = !a;", ["f = (a);", ";"]],
  ["an equality", "f = a === b;", ["f = (a !== b);", ";"]],
  ["a quantifier and a bound", "f = x.some(g);", ["f = (x.every)(g);", ";"]],
  ["no call that is named as a method of every object", "f = x.toString();", [";"]],
  ["a refusal that becomes a success", "f = Result.fail(e);", ["f = (Result.succeed(undefined));", ";"]],
  ["a refusal that is not given", "function g(): E | undefined { return e; }", [
    "function g(): E | undefined { return (undefined); }",
  ]],
  ["a yes and a no", "function g(): boolean { return true; }", ["function g(): boolean { return (false); }"]],
  ["words for people, which decide nothing", 'x({ detail: a > 1 ? "b" : "c" });', [";"]],
];
for (const [name, source, mutated] of operators) {
  test(`mutates ${name}`, () => {
    const found = mutantsOf("a.ts", source).map((mutant) => applied(source, mutant));
    assert.equal(found.toSorted(), mutated.toSorted());
  });
}

test("takes ways, fallbacks, guards and answers to events out of a machine", () => {
  const source = `import { setup } from "xstate";
const m = { on: { go: [{ guard: "may", target: "open" }, { target: "refused" }], "*": "refused" } };`;
  const found = mutantsOf("m.ts", source).map(({ original, mutated }) => `${original} → ${mutated}`);
  const list = '[{ guard: "may", target: "open" }, { target: "refused" }]';
  for (
    const wanted of [
      `${list} → without { guard: "may", target: "open" }`,
      `${list} → without { target: "refused" }`,
      'guard: "may" → (dropped)',
      'target: "refused" → (dropped)',
      '"*": "refused" → (dropped)',
    ]
  ) assert.ok(found.includes(wanted), `${wanted} among ${found.join("\n")}`);
});

test("names a mutant alike after lines were put in front of it, and tells those alike apart", () => {
  const source = "function g(a) {\n  if (a > 1) b();\n  if (a > 1) c();\n}\n";
  const ids = (text: string) => mutantsOf("a.ts", text).map(({ id }) => id);
  assert.equal(ids(`// a line\n\n${source}`), ids(source));
  assert.is(new Set(ids(source)).size, ids(source).length);
  assert.ok(ids(source).includes("a.ts › g: a > 1 → true #2"));
});

const root = mkdtempSync(join(tmpdir(), "hypha-mutate-test-"));
test.after(() => rmSync(root, { recursive: true, force: true }));

function write(path: string, text: string): void {
  mkdirSync(join(root, path, ".."), { recursive: true });
  writeFileSync(join(root, path), text);
}
const mutate = async (...args: string[]) => {
  const script = fileURLToPath(new URL("../../scripts/mutate.ts", import.meta.url));
  const flags = "Deno" in globalThis ? ["run", "-A", "--no-check", "--quiet"] : ["--no-warnings"];
  const all = [...flags, script, "--root", root, "--state", join(root, "state"), ...args];
  const { code, stdout, stderr } = await runCommand(process.execPath, all, { timeoutMs: 60_000 });
  return { code, report: (code === 2 ? undefined : JSON.parse(stdout)) as MutationReport, stderr };
};

write("scripts/mutate/plan.json", JSON.stringify({ whole: ["pki/"], sampled: [], tests: {}, slow: [], apart: [] }));
write("scripts/mutate/survivors.json", "[]");
write("package.json", '{ "type": "module" }');
write("pki/limit.ts", "export function isOver(n: number, max: number): boolean {\n  return n > max;\n}\n");
const testOf = (line: string) =>
  `import { suite } from "uvu"; import * as assert from "uvu/assert"; import { isOver } from "../../pki/limit.ts";
const test = suite("limit"); test("x", () => { ${line} }); test.run();`;
const boundary = "pki/limit.ts › isOver: n > max → n >= max";
const never = "pki/limit.ts › isOver: n > max → false";

test("a mutant that no test notices is exit 1, with its place; listed with a reason it is none", async () => {
  write("tests/pki/limit.test.ts", testOf("assert.ok(isOver(2, 1)); assert.not(isOver(0, 1));"));
  const { code, report, stderr } = await mutate("--json");
  assert.is(code, 1, stderr);
  const { judged, killed, survived, survivors, ok } = report;
  assert.equal([judged, killed, survived, ok], [3, 2, 1, false]);
  const { id, file, line, reason } = survivors[0]!;
  assert.equal([id, file, line, reason], [boundary, "pki/limit.ts", 2, null]);

  write("scripts/mutate/survivors.json", JSON.stringify([{ reason: "nobody cares", mutants: [boundary] }]));
  const listed = await mutate("--json"); // nothing changed but the list: verdicts are taken from the state
  assert.equal([listed.code, listed.report.ok, listed.report.survivors[0]?.reason], [0, true, "nobody cares"]);
});

test("a listed mutant that a test notices now, and one that is none any more, are exit 1", async () => {
  const mutants = [boundary, never, "pki/limit.ts › gone: a → b"];
  write("scripts/mutate/survivors.json", JSON.stringify([{ reason: "nobody cares", mutants }]));
  const { code, report } = await mutate("--json");
  assert.equal([code, report.stale, report.gone], [1, [never], ["pki/limit.ts › gone: a → b"]]);
});

test("a test that fails without a mutant is exit 2, and so is wrong usage", async () => {
  write("tests/pki/limit.test.ts", testOf("assert.ok(isOver(1, 2));"));
  const broken = await mutate("--json");
  assert.is(broken.code, 2);
  assert.match(broken.stderr, "limit.test.ts does not pass without a mutant");
  assert.is((await mutate("--seed", "x")).code, 2);
});

test.run();
