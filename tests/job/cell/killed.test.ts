// What is known of why an executor was killed: its processor time limit is named only where it can have been reached.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { cellDefault } from "../../../actors/config/cell_config.ts";
import { jobCell } from "../../../actors/job/cell/bounds.ts";
import type { Cell } from "../../../actors/job/cell/cell.ts";
import { exceededLimit } from "../../../actors/job/cell/exceeded.ts";
import { describeKill } from "../../../actors/job/cell/killed.ts";
import { temporary } from "../../support/job_world.ts";

const test = suite("describeKill()");

const plain: Cell = { level: "full", user: "own", cgroups: [], disk: "measured", chain: "whole", notes: [] };
const grouped: Cell = {
  ...plain,
  cgroups: [{ path: "/sys/fs/cgroup", limits: [{ file: "memory.max", of: "memory" }] }],
};
const killed = { code: 137, signal: null, tail: "", lastedMs: 100_000_000 };

function assigned(cell: Cell, cpuSeconds: number | undefined, cgroupProcs: readonly string[] = []) {
  return { cell, config: { ...jobCell(cellDefault, { memory: 1, storage: 1 }), cpuSeconds }, cgroupProcs };
}

test("bug: a kill was reported as the processor time limit, whatever the executor had used of it", () => {
  const limited = assigned(plain, 100);
  assert.is(exceededLimit(killed, limited, "/"), undefined);
  assert.is(
    describeKill(killed, limited),
    "killed (SIGKILL), probably by the processor time limit of 100 s for one process, " +
      "else for want of memory on the machine, or by another program or an operator",
  );
  assert.match(describeKill({ ...killed, code: null, signal: "SIGKILL" }, limited) ?? "", /^killed \(SIGKILL\)/);
  assert.is(describeKill({ ...killed, lastedMs: 100 }, limited), undefined, "it did not last for so long");
  assert.is(describeKill({ ...killed, code: 1 }, limited), undefined);
  assert.is(describeKill(killed, assigned(plain, undefined)), undefined, "there is no such limit");
  assert.is(describeKill(killed, assigned({ ...plain, chain: "none" }, 100)), undefined, "nothing sets the limit");
});

test("a control group that counts processor time and kills for want of memory rules causes out", () => {
  const place = temporary();
  const used = (microseconds: number) =>
    writeFileSync(join(place.path, "cpu.stat"), `usage_usec ${microseconds}\nuser_usec 1\nsystem_usec 1\n`);
  const limited = assigned(grouped, 100, [join(place.path, "cgroup.procs")]);
  used(99_000_000);
  assert.is(describeKill(killed, limited), undefined);
  used(102_000_000);
  assert.is(
    describeKill(killed, limited),
    "killed (SIGKILL), probably by the processor time limit of 100 s for one process, else by another program or an operator",
  );
  writeFileSync(join(place.path, "cpu.stat"), "nr_periods 0\n");
  assert.match(describeKill(killed, limited) ?? "", /^killed/, "version 1 does not count it");
  place.remove();
});

test.run();
