// A work_dir in which other local users can create files (/tmp, for instance): their files have no effect on the worker.
import { spawn } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import process from "node:process";
import { randomUUID } from "node:crypto";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { cellDefault } from "../../actors/config/cell_config.ts";
import { mountDisk, unmountDisk } from "../../actors/job/cell/disk.ts";
import { lockWorkDir } from "../../actors/job/cell/lock.ts";
import { prepareWorker } from "../../actors/job/cell/prepare.ts";
import { identifyProcess } from "../../actors/job/process_identity.ts";
import { makeWorkDirectory, sweepLeftovers } from "../../actors/job/work_directory.ts";
import { eventually, failureOf, realPorts, runOf, temporary } from "../support/job_world.ts";
import { ordinaryUser } from "../support/ordinary_user.ts";
import { asRoot, needing } from "../support/prerequisites.ts";

const test = suite("work_dir that other users can write");

/** A folder with the mode of /tmp. */
function shared() {
  const place = temporary();
  chmodSync(place.path, 0o1777);
  return place;
}

const modeOf = (path: string) => statSync(path).mode & 0o7777;

asRoot(test)("bug: a worker of root removed rights from its work_dir: /tmp became 0711", async () => {
  const place = shared();
  const make = (user?: number) => runOf(Effect.scoped(makeWorkDirectory(place.path, randomUUID(), { user })));
  for (const mode of [0o1777, 0o755]) {
    chmodSync(place.path, mode);
    await make(61_999);
    assert.is(modeOf(place.path), mode);
  }
  chmodSync(place.path, 0o700);
  await make();
  assert.is(modeOf(place.path), 0o700, "the worker's own user needs no right");
  await make(61_999);
  assert.is(modeOf(place.path), 0o711, "a job's user reaches its directory");
  place.remove();
});

asRoot(needing(test, "sleep"))("bug: a sweep ended the process that another user's record named", async () => {
  const place = shared();
  const victim = spawn("sleep", ["60"], { detached: true, stdio: "ignore" });
  await eventually("the process runs", () => identifyProcess(victim.pid!) !== undefined);
  const executor = identifyProcess(victim.pid!);
  const record = JSON.stringify({ worker: { ...executor, pid: 999_999, startTime: "1" }, executor });
  const make = (prepare: (owner: string) => void) => {
    const path = join(place.path, `hypha-${randomUUID()}`);
    mkdirSync(path);
    writeFileSync(`${path}.owner`, record, { mode: 0o600 });
    prepare(`${path}.owner`);
    return path;
  };
  const foreign = [
    make((owner) => chownSync(owner, ordinaryUser, ordinaryUser)),
    make((owner) => chmodSync(owner, 0o620)),
    make((owner) => chmodSync(owner, 0o602)),
    make((owner) => linkSync(owner, join(place.path, "second name"))),
  ];
  const swept = await runOf(sweepLeftovers(place.path, { isLocked: true }));
  assert.is(identifyProcess(victim.pid!)?.startTime, executor?.startTime, "the process still runs");
  assert.equal([[...swept.unowned].sort(), swept.removed, swept.failed], [foreign.sort(), [], []]);
  const own = make(() => {});
  assert.equal((await runOf(sweepLeftovers(place.path, { isLocked: true }))).removed, [own]);
  await eventually("root's own record is followed", () => identifyProcess(victim.pid!) === undefined);
  place.remove();
});

asRoot(test)(
  "bug: a folder or another user's file with the name of a partly written record ended or misled a sweep",
  async () => {
    const place = shared();
    const partly = () => `hypha-${randomUUID()}.owner.999999.tmp`;
    const [folder, foreign, own] = [partly(), partly(), partly()];
    mkdirSync(join(place.path, folder));
    for (const name of [foreign, own]) writeFileSync(join(place.path, name), "{", { mode: 0o600 });
    chownSync(join(place.path, foreign), ordinaryUser, ordinaryUser);
    await runOf(sweepLeftovers(place.path, { isLocked: true }));
    assert.equal(readdirSync(place.path).sort(), [folder, foreign].sort());
    place.remove();
  },
);

asRoot(needing(test, "mount", "umount"))("bug: a sweep unmounted what a link in work_dir led to", async () => {
  const place = shared(), outside = temporary();
  await runOf(mountDisk(outside.path, { bytes: 1 << 20, inodes: 16, user: 0 }));
  const links = [1, 2].map(() => join(place.path, `hypha-${randomUUID()}`));
  for (const link of links) symlinkSync(outside.path, link);
  const [, recorded] = links;
  const worker = { ...identifyProcess(process.pid), startTime: "1" };
  writeFileSync(`${recorded}.owner`, JSON.stringify({ worker }), { mode: 0o600 });
  const swept = await runOf(sweepLeftovers(place.path, { isLocked: true }));
  const isMounted = readFileSync("/proc/self/mountinfo", "utf8").includes(outside.path);
  await runOf(unmountDisk(outside.path));
  assert.ok(isMounted);
  assert.equal([swept.removed, swept.unowned], [[recorded], [links[0]]], "the link alone is removed");
  assert.ok(existsSync(outside.path));
  place.remove();
  outside.remove();
});

asRoot(needing(test, "flock", "sh", "cat"))(
  "bug: a worker changed the mode of a file that another user had linked as its lock, and took another user's lock file",
  async () => {
    const place = shared(), outside = temporary();
    const lock = join(place.path, "worker.lock"), file = join(outside.path, "file");
    writeFileSync(file, "");
    chmodSync(file, 0o644);
    linkSync(file, lock);
    const linked = await failureOf(Effect.scoped(lockWorkDir(place.path)));
    assert.equal([basename(linked.path), modeOf(file)], [basename(place.path), 0o644]);
    assert.match(linked.message, `${lock} has another name too: remove it`);
    outside.remove();
    chownSync(lock, ordinaryUser, ordinaryUser);
    const foreign = await failureOf(Effect.scoped(lockWorkDir(place.path)));
    assert.match(foreign.message, `${lock}: another user made it`);
    assert.is(modeOf(lock), 0o644);
    // After a run as root, work_dir and what lies in it may belong to the node's user.
    chownSync(place.path, ordinaryUser, ordinaryUser);
    assert.is(await runOf(Effect.scoped(lockWorkDir(place.path))), "locked");
    place.remove();
  },
);

needing(test, "sh")(
  "bug: a worker emptied the folder that work_dir/cache led to; it reports that it caches nothing",
  async () => {
    const place = shared(), outside = temporary(), ports = realPorts();
    const file = join(outside.path, "0".repeat(64));
    writeFileSync(file, "x");
    symlinkSync(outside.path, join(place.path, "cache"));
    const settings = { ...cellDefault, levelMax: "bare" } as const;
    const resources = { cpu: 1, gpu: 0, memory: 1, storage: 1 };
    await runOf(Effect.scoped(
      prepareWorker({ ports, workDir: place.path, cacheBytes: 0, settings, resources, executors: [] }),
    ));
    assert.equal([existsSync(file), modeOf(place.path)], [true, 0o1777]);
    const reported = ports.reports.filter(({ event }) => event === "worker.cache");
    assert.equal(reported.map(({ level }) => level), ["warn"]);
    assert.match(
      reported[0]?.message ?? "",
      `${join(place.path, "cache")} is no directory that only this user can write`,
    );
    place.remove();
    outside.remove();
  },
);

test.run();
