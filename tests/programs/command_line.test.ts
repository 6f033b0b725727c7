/** The command line of the programs, as processes: exit codes, what is said where, `init`. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { version } from "../../scripts/program/version.ts";
import { runProgramOnce } from "../support/program.ts";

const folder = mkdtempSync(join(tmpdir(), "hypha-cli-"));
const test = suite("hypha-<role>");
test.after(() => rmSync(folder, { recursive: true, force: true }));

test("says the version of the package with -v, and exits 0", async () => {
  const packaged = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")).version;
  assert.is(packaged, version);
  const { code, stdout } = await runProgramOnce("gateway", ["-v"]);
  assert.is(code, 0);
  assert.match(stdout, version);
});

test("shows every key as a flag in the help of run", async () => {
  const { code, stdout } = await runProgramOnce("worker", ["run", "--help"]);
  assert.is(code, 0);
  for (const flag of ["--config, -c", "--offer-price", "--limits-pending-max", "--log-format"]) {
    assert.match(stdout, flag);
  }
});

test("exits 2 on wrong usage", async () => {
  const wrong = [["run"], ["run", "-c", "x", "--no-such-flag", "1"], [
    "probe",
    "-c",
    "x",
    "/ip4/1.2.3.4/tcp/1",
    "--timeout",
    "soon",
  ]];
  const ended = await Promise.all(wrong.map((args) => runProgramOnce("gateway", args)));
  assert.equal(ended.map(({ code }) => code), [2, 2, 2]);
  assert.match(ended[0]?.stderr ?? "", "--config");
});

test("says everything that is wrong with a configuration on standard error, and exits 1", async () => {
  const file = join(folder, "bad.toml");
  writeFileSync(
    file,
    'cert_pem = 3\nkey_pem = "k"\ntrust_pem = "t"\nlisten_addresses = ["/ip4/0.0.0.0/tcp/1"]\ncolour = 1\n',
  );
  const { code, stdout, stderr } = await runProgramOnce("data", ["run", "-c", file, "--dataset-path", "d"], {
    env: { HYPHA_KEY_EXCHANGE: "none" },
  });
  assert.is(code, 1);
  assert.is(stdout, "");
  assert.equal(stderr.trim().split("\n").map((line) => line.replace(file, "F").split(": ").slice(0, 3).join(": ")), [
    "hypha-data: environment HYPHA_KEY_EXCHANGE: key_exchange",
    "hypha-data: F:1:1: gateway_addresses",
    "hypha-data: F:1:12: cert_pem",
    "hypha-data: F:5:1: colour",
  ]);
});

test("names a missing configuration and how to make one", async () => {
  const { code, stderr } = await runProgramOnce("gateway", ["run", "-c", join(folder, "none.toml")]);
  assert.is(code, 1);
  assert.match(
    stderr,
    /none\.toml: there is no such file; expected .*; write one with: hypha-gateway init -o .*none\.toml\n$/,
  );
});

test("writes a configuration with init, whole, and replaces none without --force", async () => {
  const file = join(folder, "new.toml");
  assert.is((await runProgramOnce("scheduler", ["init", "-o", file, "-n", "Sched 1"])).code, 0);
  assert.match(readFileSync(file, "utf8"), 'cert_pem = "certs/sched-1-cert.pem"');
  writeFileSync(file, "mine");
  const again = await runProgramOnce("scheduler", ["init", "-o", file]);
  assert.is(again.code, 1);
  assert.match(again.stderr, "--force");
  assert.is(readFileSync(file, "utf8"), "mine");
  assert.is((await runProgramOnce("scheduler", ["init", "-o", file, "--force"])).code, 0);
  assert.match(readFileSync(file, "utf8"), "[scheduler.job]");
  assert.is(statSync(file).mode & 0o022, 0, "nobody else may write it");
  assert.equal(readdirSync(folder).filter((name) => name.includes("new.toml.")), [], "nothing is left beside it");
});

test("init into a folder that is not there writes nothing and says so", async () => {
  const { code, stderr } = await runProgramOnce("data", ["init", "-o", join(folder, "none", "c.toml")]);
  assert.is(code, 1);
  assert.match(stderr, "mkdir");
  assert.not(existsSync(join(folder, "none")));
});

test.run();
