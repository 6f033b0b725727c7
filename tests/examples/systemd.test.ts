/** The units of docs/systemd, as systemd's own checks see them. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { needing } from "../support/prerequisites.ts";

const test = suite("units");
const withSystemd = needing(suite("units, as systemd reads them"), "systemd-analyze");
const units = "docs/systemd";
const names = readdirSync(units).toSorted();
/** The highest exposure that `systemd-analyze security` may find, of 10. The worker makes namespaces. */
const exposureMax = (name: string) => name.startsWith("hypha-worker") ? 5 : 1.5;
const folder = mkdtempSync(join(tmpdir(), "hypha-units-"));
withSystemd.after(() => rmSync(folder, { recursive: true, force: true }));

function analyze(...args: readonly string[]) {
  const env = { ...process.env, SYSTEMD_LOG_LEVEL: "warning" };
  const { status, stdout, stderr } = spawnSync("systemd-analyze", args, { encoding: "utf8", env });
  return { status, output: `${stdout}${stderr}` };
}

/** A copy of a unit whose program is there. */
function copied(name: string): string {
  const bin = join(folder, "bin");
  mkdirSync(bin, { recursive: true });
  const text = readFileSync(join(units, name), "utf8").replace(/^ExecStart=(hypha-[a-z]+)/m, (_, program: string) => {
    writeFileSync(join(bin, program), "#!/bin/sh\n");
    chmodSync(join(bin, program), 0o755);
    return `ExecStart=${join(bin, program)}`;
  });
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

test("every program of the package that runs on and on has its unit", () => {
  const { bin } = JSON.parse(readFileSync("package.json", "utf8")) as { bin: Readonly<Record<string, string>> };
  const expected = Object.keys(bin).filter((name) => !["hypha", "hypha-certutil"].includes(name)).map((name) =>
    `${name}.service`
  );
  assert.equal(names, [...expected, "hypha-ca-backup.service", "hypha-ca-backup.timer"].toSorted());
  for (const name of expected) {
    const text = readFileSync(join(units, name), "utf8");
    const role = name.slice("hypha-".length, -".service".length);
    assert.match(text, `\nExecStart=hypha-${role} run -c %S/hypha-${role}/${role}.toml\n`);
    assert.match(text, "\nRestartPreventExitStatus=2 3\n");
    assert.match(text, "\nRestartSec=5\n");
    assert.match(
      text,
      "\nStartLimitIntervalSec=0\n",
      "bug: a node that failed ten times was refused when it was mended",
    );
    assert.not.match(text, "StartLimitBurst");
    assert.match(text, "\nLimitCORE=0\n", "bug: a crash left a core file with keys, or a token's PIN");
    assert.match(text, /\nAfter=.*\btime-sync\.target\b/, "bug: certificates were judged by a clock that was not set");
    assert.match(text, /\nWants=.*\btime-sync\.target\b/);
    const reloads = /\nExecReload=.*-HUP/.test(text);
    assert.is(reloads, role !== "ca", "bug: systemctl reload of a CA succeeded and did nothing");
    assert.is(text.includes("\nRestartForceExitStatus=SIGHUP\n"), reloads, "it came before the program listened");
    assert.not.match(text, "StateDirectory=", "join and run would have two state directories");
  }
});

/** Runs the commands of the backup's unit with a `hypha-ca` that ends with this code; gives the first code that is not 0. */
function backUp(state: string, code: 0 | 1): number | null {
  const bin = join(folder, "own");
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, "hypha-ca"), `#!/bin/sh\n[ ${code} = 1 ] || echo copy > "$4"\nexit ${code}\n`, {
    mode: 0o755,
  });
  const text = readFileSync(join(units, "hypha-ca-backup.service"), "utf8");
  for (const [, command = ""] of text.matchAll(/^Exec[A-Za-z]+=\/bin\/sh (.*)$/gm)) {
    const line = `/bin/sh ${command.replace(/%([%S])/g, (_, each) => each === "S" ? state : "%")}`;
    const env = { ...process.env, PATH: `${bin}:${process.env["PATH"]}` };
    const { status } = spawnSync("/bin/sh", ["-c", line], { env });
    if (status !== 0) return status;
  }
  return 0;
}

test("bug: a copy that failed was not tried again that day, and kept old copies from making room", async () => {
  const text = readFileSync(join(units, "hypha-ca-backup.service"), "utf8");
  assert.match(text, "\nRestart=on-failure\n");
  assert.match(text, "\nRestartSec=5min\n");
  const state = join(folder, "state");
  const backups = join(state, "hypha-ca", "backups");
  const copies = () => readdirSync(backups).toSorted();
  mkdirSync(join(state, "hypha-ca"), { recursive: true });
  assert.is(backUp(state, 0), 0, "the first");
  assert.is(copies().length, 1);
  await new Promise((wake) => setTimeout(wake, 1_100));
  assert.is(backUp(state, 0), 0, "a second one on the same day");
  const newest = copies();
  assert.is(newest.length, 2);
  for (let day = 1; day <= 31; day++) {
    writeFileSync(join(backups, `register-2020-01-${`${day}`.padStart(2, "0")}.db`), "");
  }
  writeFileSync(join(backups, "register-2020-02-01.db.part"), "torn");
  for (let run = 0; run < 2; run++) assert.is(backUp(state, 1), 1);
  assert.is(copies().length, 30, "a place is free, and a CA that is away for a month keeps its copies");
  assert.equal(copies().slice(-2), newest);
});

withSystemd("systemd finds nothing wrong", () => {
  const { status, output } = analyze("verify", "--man=no", ...names.map(copied));
  assert.equal([status, output], [0, ""]);
});

for (const name of names.filter((each) => each.endsWith(".service"))) {
  withSystemd(`${name} exposes little`, () => {
    const { status, output } = analyze("security", "--offline=true", "--no-pager", copied(name));
    const exposure = Number(/Overall exposure level[^:]*: ([\d.]+)/.exec(output)?.[1] ?? NaN);
    assert.ok(status === 0 && exposure <= exposureMax(name), output);
  });
}

test.run();
withSystemd.run();
