import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import { initialTransition, transition } from "xstate";
import * as assert from "uvu/assert";
import { keptFolder } from "../../actors/files/state_directory.ts";
import { watchedCrlsMachine } from "../../actors/files/watched_crls.ts";
import type { Ports } from "../../actors/runtime/ports.ts";
import { type Host, host } from "../support/child_host.ts";

const test = suite("watchedCrlsMachine");
const folder = mkdtempSync(join(tmpdir(), "hypha-watched-crls-"));
const hosts: Host[] = [];
test.after.each(async () => {
  await Promise.all(hosts.splice(0).map((each) => each.stop()));
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

const name = `${"a".repeat(64)}-all.crl`;
let states = 0;

function start(times: { readonly pollMs?: number; readonly pollUnwatchedMs?: number } = {}, makes = true) {
  const stateDir = join(folder, String(states++));
  const [own, partner] = [keptFolder(stateDir, "@own"), keptFolder(stateDir, "partner.example")];
  if (makes) { for (const each of [own, partner]) mkdirSync(each, { recursive: true }); }
  const timing = { settleMs: 10, pollMs: 60_000, pollUnwatchedMs: 60_000, ...times };
  const watch = host(watchedCrlsMachine, { stateDir, domains: ["@own", "partner.example"], timing });
  hosts.push(watch);
  const put = (path: string, content: string) => {
    writeFileSync(`${path}.part`, content);
    renameSync(`${path}.part`, path);
  };
  return { watch, own, partner, put };
}

/** Waits for a look that finds these files. */
async function seen(watch: Host, ...paths: string[]): Promise<ReadonlyMap<string, string>> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    const looks = watch.said.filter(({ type }) => type === "learned.seen");
    const files = looks.at(-1)?.["files"] as ReadonlyMap<string, string> | undefined;
    if (files !== undefined && [...files.keys()].toSorted().join() === paths.toSorted().join()) return files;
    assert.ok(performance.now() < deadline, `no look found ${paths}: ${looks.length} looks`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test("tells what lies in the folders of all domains, and what a rename changed", async () => {
  const { watch, own, partner, put } = start();
  const [first, second] = [join(own, name), join(partner, name)];
  await seen(watch);
  put(first, "1");
  const before = await seen(watch, first);
  put(second, "2");
  await seen(watch, first, second);
  put(first, "1");
  const deadline = performance.now() + 10_000;
  while ((await seen(watch, first, second)).get(first) === before.get(first)) {
    assert.ok(performance.now() < deadline);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
});

test("other files of the folders, however busy, hide nothing", async () => {
  const { watch, own, put } = start();
  await seen(watch);
  let busy = true;
  const noise = (async () => {
    for (let round = 0; busy; round++) {
      writeFileSync(join(own, "download.part"), `${round}`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  put(join(own, name), "1");
  await seen(watch, join(own, name));
  busy = false;
  await noise;
});

test("folders that are missing are looked at by polling, and watched once they are there", async () => {
  const { watch, own, partner, put } = start({ pollUnwatchedMs: 50 }, false);
  await seen(watch);
  mkdirSync(own, { recursive: true });
  put(join(own, name), "1");
  await seen(watch, join(own, name));
  mkdirSync(partner, { recursive: true });
  put(join(partner, name), "1");
  await seen(watch, join(own, name), join(partner, name));
  assert.equal(watch.reports, []);
});

const orphan = watchedCrlsMachine.provide({ actions: { sendSeen: () => {} } });

/** The states that events lead to, without what they invoke. */
function statesAfter(...events: Parameters<typeof transition<typeof orphan>>[2][]) {
  const timing = { settleMs: 1, pollMs: 1, pollUnwatchedMs: 1 };
  const input = { ports: {} as Ports, stateDir: "/state", domains: ["@own"], timing };
  let [snapshot] = initialTransition(orphan, input);
  return events.map((event) => {
    [snapshot] = transition(orphan, snapshot, event);
    return (snapshot.value as { running: string }).running;
  });
}
const touched = { type: "files.touched" } as const;
const settled = { type: "xstate.after.settle.watchedCrls.running.settling" } as never;
const looked = { type: "effect.done.lookAtLists", value: new Map() } as const;

test("a look goes on while others write, and is followed by another", () => {
  assert.equal(statesAfter(touched, settled, touched, touched, looked), [
    "settling",
    "looking",
    "looking",
    "looking",
    "settling",
  ]);
  assert.equal(statesAfter(touched, settled, looked), ["settling", "looking", "watching"]);
});

test("after each look folders that are not watched are tried again", () => {
  const failed = { type: "watch.failed", error: "" } as const;
  const timing = { settleMs: 1, pollMs: 1, pollUnwatchedMs: 1 };
  const input = { ports: {} as Ports, stateDir: "/state", domains: ["@own"], timing };
  let [snapshot] = initialTransition(orphan, input);
  for (const event of [touched, settled, failed]) [snapshot] = transition(orphan, snapshot, event);
  assert.is(snapshot.context.watched, false);
  [snapshot] = transition(orphan, snapshot, looked);
  assert.equal([snapshot.context.watched, snapshot.value], [true, { running: "watching" }]);
});

test("without a state directory it does nothing", async () => {
  const timing = { settleMs: 1, pollMs: 1, pollUnwatchedMs: 1 };
  const watch = host(watchedCrlsMachine, { stateDir: undefined, domains: ["@own"], timing });
  hosts.push(watch);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal([watch.said, watch.reports], [[], []]);
});

test.run();
