/** How the end of the root's list is told: on both sides of each limit. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { crlOf } from "../../actors/ca/crl_rows.ts";
import { operatorStatus } from "../../actors/ca/operator_views.ts";
import { rootListState } from "../../actors/ca/published_cas.ts";
import { takeRootList } from "../../actors/ca/take_root_list.ts";
import { issueCrl } from "../../pki/issue/mod.ts";
import { start, testAuthority } from "../support/authority.ts";

const test = suite("rootListState()");
const dayMs = 24 * 3_600_000;

test("is silent for nine months, warns for three, and is loud in the last one", async () => {
  const { ca, root, folder, close } = await testAuthority();
  const nextUpdate = new Date(+start + 396 * dayMs);
  const stateAt = (left: number) =>
    Result.getOrThrow(ca.register.read((rows) => rootListState(ca, rows, new Date(+nextUpdate - left))));
  assert.equal([stateAt(0).warning?.level, stateAt(0).days], ["error", undefined], "there is none");
  writeFileSync(
    join(folder, "root.pem"),
    await issueCrl({ issuer: root, revoked: [], number: 1n, thisUpdate: start, nextUpdate }),
  );
  await Effect.runPromise(takeRootList(ca, join(folder, "root.pem"), start));
  const told = ([120 * dayMs, 120 * dayMs - 1, 30 * dayMs, 30 * dayMs - 1, -1] as const).map((left) => {
    const { warning, days } = stateAt(left);
    return [warning?.level, days];
  });
  assert.equal(told, [[undefined, 120], ["warn", 119], ["warn", 30], ["error", 29], ["error", -1]]);
  assert.match(stateAt(-1).warning!.message, "ended at");
  const status = await Effect.runPromise(operatorStatus(ca, new Date(+nextUpdate - 50 * dayMs)));
  assert.equal([status["root_list_days"], status["root_list_ends"]], [50, nextUpdate.toISOString()]);
  assert.match(String(status["root_list"]), "in 50 days: make the next one");
  close();
});

test("bug: of a file with the new list before the old one, the old one was published", async () => {
  const { ca, root, folder, close } = await testAuthority();
  const file = join(folder, "root.pem");
  const list = (number: bigint) =>
    issueCrl({ issuer: root, revoked: [], number, thisUpdate: start, nextUpdate: new Date(+start + dayMs) });
  const published = () => {
    const row = ca.register.read((rows) => crlOf(rows, ca.anchorId, "complete"));
    return Result.getOrThrow(row)?.number;
  };
  writeFileSync(file, await list(2n) + await list(1n));
  await Effect.runPromise(takeRootList(ca, file, start));
  assert.is(published(), "2");
  writeFileSync(file, await list(4n) + await list(3n));
  await Effect.runPromise(takeRootList(ca, file, start));
  assert.is(published(), "4");
  close();
});

test.run();
