/**
 * Attacks on what a cell shows of the machine so that libraries and drivers work: devices, `/sys`, shared memory, names of users, and
 * files that jobs share.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { cachePathOf } from "../../../actors/job/cell/prepare.ts";
import type { Attack } from "./attacks.ts";
import { escapes } from "./hostile.ts";
import { runJob } from "./world.ts";

/** Anyone may open it, on machines that have it. */
const openDevice = "/dev/fuse";
/** A job has the devices that its worker lists; this one reaches nothing of the machine. */
const listed = { gpu: [{ devices: ["/dev/full"], memory: 1 }] };

const unlistedDevice: Attack = {
  id: "unlisted-device",
  run: async (world) => {
    const devices = [openDevice, "/dev/kvm", "/dev/net/tun", "/dev/mem", "/dev/vda", "/dev/sda", "/dev/loop-control"];
    const code = `for d in ${devices.join(" ")}; do (: <> $d) 2>/dev/null && [ -c $d -o -b $d ] && echo ESCAPED $d; done
      mknod made c 1 5 2>/dev/null && echo ESCAPED made a device
      exit 0`;
    return escapes(await runJob(world, { code, cell: listed, gpus: [0] }), devices.length + 1);
  },
};

const writeSys: Attack = {
  id: "sys-write",
  run: async (world) => {
    const code = `for f in /sys/kernel/mm/transparent_hugepage/enabled /sys/power/state /sys/kernel/uevent_helper \\
        /proc/sys/kernel/hostname /proc/sys/vm/drop_caches /proc/sysrq-trigger; do
        (echo 1 > $f) 2>/dev/null && echo ESCAPED $f; done
      for d in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/memory /sys/kernel/config; do
        mkdir $d/hypha-attack 2>/dev/null && rmdir $d/hypha-attack && echo ESCAPED $d; done
      exit 0`;
    return escapes(await runJob(world, { code, cell: listed, gpus: [0] }), 10);
  },
};

const shmBomb: Attack = {
  id: "shm-bomb",
  run: async (world) => {
    const name = `/dev/shm/hypha-attack-${process.pid}`;
    const memoryBytes = 128 * 1024 * 1024;
    const code = `head -c 300M /dev/zero > ${name} 2>/dev/null
      [ "$(stat -c %s ${name} 2>/dev/null || echo 0)" -gt ${memoryBytes} ] && echo ESCAPED more than its memory
      exit 0`;
    const result = escapes(await runJob(world, { code, cell: { memoryBytes } }, 30_000));
    const isLeft = existsSync(name);
    rmSync(name, { force: true });
    return isLeft ? { ...result, escaped: [...result.escaped, "shared memory outlives the job"] } : result;
  },
};

const userNames: Attack = {
  id: "passwd-tricks",
  run: async (world) => {
    const code =
      `grep -qvE "^(root|job|nobody|nogroup):" /etc/passwd /etc/group -h && echo ESCAPED accounts of the machine
      for f in /etc/passwd /etc/group /etc/shadow; do
        (echo "evil::0:0::/:/bin/sh" >> $f) 2>/dev/null && echo ESCAPED wrote $f
        mv $f $f.old 2>/dev/null && echo ESCAPED moved $f
        ln -sf /job/own $f 2>/dev/null && echo ESCAPED replaced $f; done
      su -c id root </dev/null 2>/dev/null | grep -q uid=0 && echo ESCAPED is root
      [ "$(id -un 2>/dev/null)" = root ] && echo ESCAPED is named root
      exit 0`;
    return escapes(await runJob(world, { code }), 12);
  },
};

const cachePoisoning: Attack = {
  id: "cache-poisoning",
  run: async (world) => {
    const path = cachePathOf(world.workDir);
    const content = "weights of another job";
    const entry = join(path, createHash("sha256").update(content).digest("hex"));
    mkdirSync(path, { recursive: true, mode: 0o700 });
    writeFileSync(entry, content, { mode: 0o600 });
    const code = `for d in ${path} /job/../cache ../cache; do
        ls $d >/dev/null 2>&1 && echo ESCAPED lists $d
        cat $d/* >/dev/null 2>&1 && echo ESCAPED reads $d
        (echo poison > ${entry}) 2>/dev/null && echo ESCAPED writes $d
        rm -f ${entry} 2>/dev/null && [ -d $d ] && [ ! -e ${entry} ] && echo ESCAPED removes from $d; done
      ln -s ${path} cache 2>/dev/null; (echo poison > cache/${"0".repeat(64)}) 2>/dev/null && echo ESCAPED by a link
      exit 0`;
    const result = escapes(await runJob(world, { code }), 13);
    const isWhole = existsSync(entry) && readFileSync(entry, "utf8") === content;
    rmSync(path, { recursive: true, force: true });
    return isWhole ? result : { ...result, escaped: [...result.escaped, "the entry is changed"] };
  },
};

export const deviceAttacks: readonly Attack[] = [unlistedDevice, writeSys, shmBomb, userNames, cachePoisoning];
