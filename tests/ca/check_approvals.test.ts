/** A CA does not run with other approvers, or other CAs, than its register has. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type ConfiguredCas, configuredCas, enterApprovedCas } from "../../actors/ca/authorities_fact.ts";
import { checkApprovals, enterStart } from "../../actors/ca/check_approvals.ts";
import { permitRotation } from "../../actors/ca/operator_acts.ts";
import { LogUnusable } from "../../actors/audit/log_unusable.ts";
import { start, testAuthority } from "../support/authority.ts";
import { testApprovers } from "../support/approvers.ts";

const test = suite("checkApprovals()");
const hash = "ab".repeat(32);
/** When the request expires that approved other CAs. */
const end = new Date(+start + 86_400_000);

test("the file of approvers is the register's, byte for byte, and the refusal names the command that writes it", async () => {
  const world = await testAuthority();
  const approversJson = join(world.folder, "approvers.json");
  const outcome = () =>
    Result.match(checkApprovals(world.ca, { approversJson }, { configFile: "ca.toml", at: start }), {
      onSuccess: () => "runs",
      onFailure: ({ message }) => message,
    });
  assert.is(outcome(), "runs", "neither has approvers");
  writeFileSync(approversJson, "{}\n");
  assert.match(outcome(), /register has no approvers.*hypha-ca approvers -c ca\.toml/);
  const { policy } = await testApprovers(world.ca, ["change-approvers"]);
  assert.match(outcome(), /differs from the register's.*hypha-ca approvers -c ca\.toml/);
  writeFileSync(approversJson, `${policy.line}\n`);
  assert.is(outcome(), "runs");
  writeFileSync(approversJson, `${policy.line}\n\n`);
  assert.match(outcome(), /differs/);
  rmSync(approversJson);
  assert.match(outcome(), /no such file.*hypha-ca approvers -c ca\.toml/);
  world.close();
});

test("where rotate-ca waits for approvals, the configuration has the CAs in force, or those approved: once", async () => {
  const world = await testAuthority();
  const { policy } = await testApprovers(world.ca, ["change-approvers", "rotate-ca"]);
  const approversJson = join(world.folder, "approvers.json");
  writeFileSync(approversJson, policy.line);
  const runsWith = (cas: Partial<ConfiguredCas>, at = start) => {
    const { retired = [], next = [] } = cas;
    const changed = {
      ...world.ca,
      retired: retired.map((issuerId) => ({ ...world.ca, issuerId })),
      // Those between it and the root do not count.
      next: next.length === 0 ? [] : [world.ca.issuer.certificate, world.ca.anchor],
    };
    const permitted = Result.isSuccess(checkApprovals(changed, { approversJson }, { configFile: "ca.toml", at }));
    if (permitted) Result.getOrThrow(enterStart(changed, at));
    return permitted;
  };
  assert.ok(runsWith({}));
  assert.not(runsWith({ retired: [hash] }));
  assert.not(runsWith({ next: [hash] }));
  const next = { ...configuredCas(world.ca), retired: [hash] };
  const asked = await Effect.runPromise(permitRotation(world.ca, next, start));
  assert.ok("waits" in asked);
  assert.equal(await Effect.runPromise(permitRotation(world.ca, configuredCas(world.ca), start)), {
    done: "permitted",
  });
  Result.getOrThrow(world.ca.register.transaction((rows) => Result.succeed(enterApprovedCas(rows, next, end))));
  const types: string[] = [];
  let isOpen = false;
  const recordNow = (events: readonly { readonly type: string }[]) => {
    if (!isOpen) throw new LogUnusable({ dir: "audit", problem: "unwritable", detail: "it is not open" });
    types.push(...events.map(({ type }) => type));
  };
  world.ca.register.recordTo({ record: () => {}, recordNow });
  const taken = { ...world.ca, retired: [{ ...world.ca, issuerId: hash }] };
  assert.ok(
    Result.isSuccess(checkApprovals(taken, { approversJson }, { configFile: "ca.toml", at: start })),
    "before the log is open",
  );
  assert.ok(Result.isFailure(enterStart(taken, start)), "and entered once it is");
  isOpen = true;
  assert.equal(await Effect.runPromise(permitRotation(world.ca, next, start)), { done: "permitted" });
  assert.ok(runsWith({}), "the step may still be ahead");
  assert.not(runsWith({ retired: [hash] }, end), "an approval that was not used ends with its request");
  const late = await Effect.runPromise(permitRotation(world.ca, next, end));
  assert.ok("waits" in late, "and the step is requested again");
  assert.ok(runsWith({ retired: [hash] }, new Date(+end - 1)));
  assert.ok(runsWith({ retired: [hash] }, end), "taken, it stays");
  assert.equal(types, ["approval.lapsed", "approval.requested", "ca.rotated"]);
  assert.not(runsWith({}), "and is not taken back without approvals");
  const ownNext = { ...configuredCas(world.ca), next: [world.ca.issuerId] };
  Result.getOrThrow(world.ca.register.transaction((rows) => Result.succeed(enterApprovedCas(rows, ownNext, end))));
  assert.ok(runsWith({ next: [hash] }));
  world.close();
});

test("bug: each look at a step that waited made a further request, until no other could be made", async () => {
  const world = await testAuthority();
  const { approve } = await testApprovers(world.ca, ["change-approvers", "rotate-ca"]);
  const next = { ...configuredCas(world.ca), next: [hash] };
  const look = async (cas: ConfiguredCas, at = start) => {
    const acted = await Effect.runPromise(permitRotation(world.ca, cas, at));
    return "waits" in acted ? acted.waits : undefined;
  };
  const first = await look(next);
  assert.is(await approve(first!.id, "alice", start), "open");
  assert.equal(await look(next, new Date(+start + 60_000)), { ...first, approvers: ["alice"] });
  assert.is(world.alarms.filter(({ kind }) => kind === "approvals-pending").length, 1);
  assert.is.not((await look({ ...next, retired: [hash] }))?.id, first!.id, "another step");
  const other = { ...world.ca, issuerId: hash };
  const waits = await Effect.runPromise(permitRotation(other, next, start));
  assert.ok("waits" in waits && waits.waits.id !== first!.id, "another CA could not execute it");
  assert.is.not((await look(next, end))?.id, first!.id, "it has expired");
  world.close();
});

test.run();
