/**
 * Attacks on limited resources: processes, memory, disk, processor time. Each attack is bounded, so a machine on which it
 * succeeds stays usable.
 *
 * @module
 */
import type { Attack } from "./attacks.ts";
import { escapes } from "./hostile.ts";
import { runJob } from "./world.ts";

const mib = 1024 * 1024;

const forkBomb: Attack = {
  id: "fork-bomb",
  run: async (world) => {
    // Without `|| true`, a shell that cannot fork ends. Each round runs in a subshell.
    const code = `trap '' HUP; i=0; while [ $i -lt 200 ]; do (sleep 5 &) 2>/dev/null; i=$((i+1)); done
      n=0; for p in /proc/[0-9]*; do grep -q sleep $p/comm 2>/dev/null && n=$((n+1)); done
      [ $n -gt 64 ] && echo ESCAPED $n processes; exit 0`;
    return escapes(await runJob(world, { code, cell: { pidsMax: 48 } }, 20_000), 200);
  },
};

const memoryBomb: Attack = {
  id: "memory-bomb",
  run: async (world) => {
    const code = `head -c 800M /dev/zero | tail -c 800M | wc -c | grep -q 838860800 && echo ESCAPED 800 MiB; exit 0`;
    return escapes(await runJob(world, { code, cell: { memoryBytes: 256 * mib } }, 30_000));
  },
};

const memoryTogether: Attack = {
  id: "memory-together",
  run: async (world) => {
    // The fourth is `wc`: each `tail` alone is within the limit.
    const one = "head -c 150M /dev/zero | tail -c 150M | { sleep 1; wc -c; }";
    const code = `{ ${one} & ${one} & ${one} & ${one} & wait; } > sizes
      [ "$(grep -c 157286400 sizes)" = 4 ] && echo ESCAPED 600 MiB together; exit 0`;
    return escapes(await runJob(world, { code, cell: { memoryBytes: 256 * mib } }, 30_000));
  },
};

const disk = { diskBytes: 16 * mib, inodesMax: 1_000 };

const fileSize: Attack = {
  id: "file-size-bomb",
  run: async (world) => {
    const code = `head -c 64M /dev/zero > big; [ "$(stat -c %s big)" -gt ${disk.diskBytes} ] && echo ESCAPED; exit 0`;
    return escapes(await runJob(world, { code, cell: disk }));
  },
};

const diskBomb: Attack = {
  id: "disk-bomb",
  run: async (world) => {
    const code = `for i in 1 2 3 4 5 6 7 8; do head -c 8M /dev/zero > part$i
      [ "$(du -sk . | cut -f1)" -gt 20480 ] && echo ESCAPED $(du -sk . | cut -f1) kB && exit 0; done; exit 0`;
    return escapes(await runJob(world, { code, cell: disk }));
  },
};

const inodeBomb: Attack = {
  id: "inode-bomb",
  run: async (world) => {
    const code = `const fs = require("node:fs"); let made = 0;
      const say = () => fs.writeSync(1, "ESCAPED " + made + " files\\n");
      try { for (; made < 3000; made++) { fs.closeSync(fs.openSync("f" + made, "w"));
        if (made === ${disk.inodesMax}) say(); } } catch {}`;
    return escapes(await runJob(world, { runtime: "node", code, cell: disk }), 5_000);
  },
};

const diskGrowth: Attack = {
  id: "disk-growth",
  run: async (world) => {
    // Slowly enough to be measured: within four seconds such a job is over, or its disk is full.
    const code = `i=0; while [ $i -lt 40 ]; do head -c 1M /dev/zero > p$i || exit 1; sleep 0.1; i=$((i+1)); done
      [ "$(du -sk . | cut -f1)" -gt 36000 ] && echo ESCAPED; exit 0`;
    return escapes(await runJob(world, { code, cell: disk }, 15_000));
  },
};

/** A few seconds of processor time are used up within this, also where a machine has twenty others waiting for its two cores. */
const spinMs = 120_000;

const cpuSpin: Attack = {
  id: "cpu-spin",
  run: async (world) => {
    const job = await runJob(world, { code: "trap '' XCPU; while :; do :; done", cell: { cpuSeconds: 1 } }, spinMs);
    const outcome = await job.ended(0);
    const result = escapes(job);
    return outcome?.type === "cancelled" ? { ...result, escaped: ["spins on"] } : result;
  },
};

const openFiles: Attack = {
  id: "descriptor-bomb",
  run: async (world) => {
    const code = `const fs = require("node:fs"); let n = 0;
      try { for (; n < 5000; n++) fs.openSync("/dev/null"); } catch {}
      if (n >= 256) console.log("ESCAPED", n);`;
    return escapes(await runJob(world, { runtime: "node", code, cell: { openFilesMax: 256 } }), 5_000);
  },
};

const wallTime: Attack = {
  id: "run-for-ever",
  run: async (world) => {
    const job = await runJob(world, { code: "sleep 60", cell: { wallSeconds: 1 } }, 30_000);
    const outcome = await job.ended(0);
    const result = escapes(job);
    return outcome?.type === "failed" ? result : { ...result, escaped: [`ended as ${outcome?.type}`] };
  },
};

export const limitAttacks: readonly Attack[] = [
  forkBomb,
  memoryBomb,
  memoryTogether,
  fileSize,
  diskBomb,
  inodeBomb,
  diskGrowth,
  cpuSpin,
  openFiles,
  wallTime,
];
