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
    assert.match(text, /\nAfter=.*\btime-sync\.target\b/, "bug: certificates were judged by a clock that was not set");
    assert.match(text, /\nWants=.*\btime-sync\.target\b/);
    const reloads = /\nExecReload=.*-HUP/.test(text);
    assert.is(reloads, role !== "ca", "bug: systemctl reload of a CA succeeded and did nothing");
    assert.is(text.includes("\nRestartForceExitStatus=SIGHUP\n"), reloads, "it came before the program listened");
    assert.not.match(text, "StateDirectory=", "join and run would have two state directories");
  }
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
