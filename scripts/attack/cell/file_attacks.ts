/**
 * Attacks on files: the machine's, another job's, the worker's own.
 *
 * @module
 */
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import type { Attack, AttackResult } from "./attacks.ts";
import { askBridge, escapes } from "./hostile.ts";
import { eventually, runJob, startJob } from "./world.ts";

const secret = "the-secret-of-somebody-else";

const readShadow: Attack = {
  id: "read-shadow",
  run: async (world) => {
    const code = "for f in /etc/shadow /etc/passwd /root/.ssh/id_rsa; do [ -s $f ] && cat $f >/dev/null && " +
      '[ "$f" != /etc/passwd ] && echo ESCAPED $f; done; exit 0';
    return escapes(await runJob(world, { code }));
  },
};

const workerKey: Attack = {
  id: "worker-key",
  run: async (world) => {
    const key = join(world.folder, "node-key.pem");
    writeFileSync(key, secret, { mode: 0o600 });
    return escapes(await runJob(world, { code: `grep -q ${secret} ${key} && echo ESCAPED key; exit 0` }));
  },
};

const otherJob: Attack = {
  id: "other-job",
  run: async (world) => {
    const honest = startJob(world, { code: `echo ${secret} > mine; echo ready; sleep 20` });
    await eventually(() => honest.output().includes("ready"), 30_000);
    const directory = honest.directory() ?? "";
    const code =
      `grep -rq ${secret} ${directory} && echo ESCAPED read; (: > ${directory}/planted) 2>/dev/null && echo ESCAPED write;
      ls ${world.workDir} 2>/dev/null | grep -q hypha && [ -r ${directory} ] && echo ESCAPED list; exit 0`;
    const result = escapes(await runJob(world, { code }));
    honest.cancel();
    await honest.ended(30_000);
    return result;
  },
};

const writeOutside: Attack = {
  id: "write-outside",
  run: async (world) => {
    const shared = join(world.folder, "shared");
    mkdirSync(shared, { recursive: true, mode: 0o777 });
    const name = `planted-by-a-job-${process.pid}`;
    const code = `for d in ${shared} ${world.folder} ${world.workDir} /tmp /var/tmp /usr / /etc; do
      (: > $d/${name}) 2>/dev/null; done; (cat /proc/sys/kernel/domainname > /proc/sys/kernel/domainname) 2>/dev/null && echo ESCAPED sysctl; exit 0`;
    const job = await runJob(world, { code });
    const places = [shared, world.folder, world.workDir, "/tmp", "/var/tmp", "/usr", "/", "/etc"];
    const planted = places.map((place) => join(place, name)).filter((path) => existsSync(path));
    for (const path of planted) rmSync(path, { force: true });
    return { attempts: places.length, escaped: [...escapes(job).escaped, ...planted] };
  },
};

const plantLinks: Attack = {
  id: "plant-links",
  run: async (world) => {
    const outside = join(world.folder, "outside");
    mkdirSync(outside, { recursive: true });
    writeFileSync(join(outside, "secret"), secret);
    const code = `const fs = require("node:fs");
      fs.symlinkSync(${JSON.stringify(outside)}, "linked");
      fs.symlinkSync(${JSON.stringify(join(outside, "secret"))}, "leaf");
      fs.symlinkSync("/proc/self/root", "proc");
      fs.symlinkSync(${JSON.stringify(outside)}, "artifacts");
      try { fs.linkSync("/etc/passwd", "hard"); } catch {}
      ${askBridge}
      const resource = { type: "peers", peers: ["12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz"],
        strategy: { type: "One" }, resource: null };
      (async () => {
        for (const path of ["linked/secret", "leaf", "proc/etc/passwd", "hard", "../outside/secret", "/etc/passwd",
          "artifacts/secret", "linked/", "./leaf", "leaf\\0x"]) {
          const { status } = await ask("/resources/send", { resource, path });
          if (status !== 400 && path !== "hard") console.log("ESCAPED", path, status);
        }
        const { status } = await ask("/resources/receive", { resource: { ...resource, peers: [], strategy: { type: "All" } }, path: "linked/in" });
        if (status !== 400) console.log("ESCAPED receive", status);
      })();`;
    const job = await runJob(world, { runtime: "node", code });
    const planted = readdirSync(outside).filter((name) => name !== "secret");
    return { attempts: 11, escaped: [...escapes(job).escaped, ...planted] };
  },
};

/** An executor gets nothing that the worker has open. Its parent gives this process a descriptor of a secret: 9. */
const inheritDescriptor: Attack = {
  id: "inherit-descriptor",
  run: async (world): Promise<AttackResult> => {
    const code = `for n in 3 4 5 6 7 8 9 10 11 12; do [ -e /proc/self/fd/$n ] && readlink /proc/self/fd/$n; done |
      grep -v "^/proc\\|/dev/null" | sed "s/^/ESCAPED /"; exit 0`;
    return escapes(await runJob(world, { code }));
  },
};

export const fileAttacks: readonly Attack[] = [
  readShadow,
  workerKey,
  otherJob,
  writeOutside,
  plantLinks,
  inheritDescriptor,
];
