/** The doctor on lists that the network brought: dates of each, the root's from four months before its end; never an error. */
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import { Effect, Result } from "effect";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { examineLearnedLists } from "../../../actors/certutil/doctor/learned_lists.ts";
import { keptPath } from "../../../actors/files/state_directory.ts";
import { parseCertificate } from "../../../pki/certificate.ts";
import { markKey, ownDomain } from "../../../pki/crl_marks.ts";
import { issueCrlDer } from "../../../pki/issue/issue_crl.ts";
import { makeTestPki } from "../../support/pki.ts";

const test = suite("examineLearnedLists()");
const pki = await makeTestPki();
const folder = mkdtempSync(join(tmpdir(), "hypha-doctor-lists-"));
const dayMs = 86_400_000;
const at = new Date();
test.after(() => rmSync(folder, { recursive: true }));

const key = markKey(Result.getOrThrow(parseCertificate(pki.root.der)));
const path = keptPath(folder, { domain: ownDomain, key, scope: "all", kind: "complete" });
const examine = (stateDir: string | undefined = folder) =>
  Effect.runPromise(Effect.provide(examineLearnedLists(stateDir, { at, graceMs: 0 }), NodeFileSystem.layer));

/** A list for this many days, of which as many are left. */
const list = (days: number, left: number) =>
  issueCrlDer({
    issuer: pki.root,
    revoked: [],
    number: 1n,
    thisUpdate: new Date(+at + (left - days) * dayMs),
    nextUpdate: new Date(+at + left * dayMs),
  });

const cases: [name: string, days: number, left: number, level: string, detail: RegExp][] = [
  ["a root's list", 396, 130.5, "ok", /in 130 days$/],
  ["a root's list that ends within four months", 396, 119.5, "warning", /in 119 days$/],
  ["a list of a CA that is renewed daily", 30, 5.5, "ok", /in 5 days$/],
  ["a list of a CA that was not renewed", 30, 2.5, "warning", /in 2 days$/],
  ["a list for three days", 3, 1.5, "ok", /in 1 days$/],
  ["a list for three days in its last third", 3, 0.9, "warning", /in 0 days$/],
  ["a list that ended", 30, -2, "warning", /the grace is over$/],
];
for (const [name, days, left, level, detail] of cases) {
  test(name, async () => {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, await list(days, left));
    const [finding, ...others] = await examine();
    assert.equal([finding?.level, finding?.file, others], [level, path, []]);
    assert.match(finding!.detail, detail);
  });
}

test("a torn file is told, and no file is fine", async () => {
  writeFileSync(path, "torn");
  assert.is((await examine())[0]?.level, "warning");
  rmSync(dirname(path), { recursive: true });
  assert.equal(await examine(), []);
  assert.equal(
    await Effect.runPromise(Effect.provide(examineLearnedLists(undefined, { at, graceMs: 0 }), NodeFileSystem.layer)),
    [],
  );
});

test.run();
