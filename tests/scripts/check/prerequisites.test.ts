/** A machine that lacks what tests use: `npm test` installs it, or says what it could not cover; in CI it fails. */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runCommand } from "../../../scripts/check/command.ts";
import { coverageLines, fullCells } from "../../../scripts/check/coverage.ts";
import {
  findProgram,
  installPrerequisites,
  missingPrerequisites,
  prerequisites,
} from "../../../scripts/check/prerequisites.ts";
import { ownRuntime, scriptCommand } from "../../../scripts/check/runtimes.ts";
import { needing } from "../../support/prerequisites.ts";
import { unprivileged } from "../../support/unprivileged.ts";

const test = suite("npm test's prerequisites");
/** Inside the tree, so that uvu resolves. */
const folder = mkdtempSync(join("tests", "scripts", "fixtures-"));
const machines = mkdtempSync(join(tmpdir(), "hypha-machine-"));
chmodSync(machines, 0o755);
test.after(() => {
  for (const each of [folder, machines]) rmSync(each, { recursive: true, force: true });
});

/** A PATH with these programs of the system and these scripts, and nothing else. */
function machine(name: string, programs: readonly string[], scripts: Readonly<Record<string, string>> = {}): string {
  const bin = join(machines, name);
  mkdirSync(bin);
  for (const program of programs) {
    const real = findProgram(program);
    if (real !== undefined) symlinkSync(real, join(bin, program));
  }
  for (const [program, text] of Object.entries(scripts)) {
    writeFileSync(join(bin, program), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  }
  return bin;
}

/** Does something on a machine with this PATH. */
async function on<A>(path: string, work: () => A | Promise<A>): Promise<A> {
  const before = process.env["PATH"];
  process.env["PATH"] = path;
  try {
    return await work();
  } finally {
    process.env["PATH"] = before;
  }
}

/** Names of the programs' files. */
const programs = [...new Set(prerequisites.map(({ program }) => program.replace(/^(python3|pki)-.*/, "$1")))];
/** A program that ends well; as `pki`, it has its plugins. */
const works = "echo 'loaded plugins: curl openssl'";
const installed = Object.fromEntries(programs.map((program) => [program, works]));
/** Lines of a shell script that make all programs in the folder `$here`. */
const makeAll = `for name in ${programs.join(" ")}; do
  printf "#!/bin/sh\\n${works}\\n" > "$here/$name"; chmod +x "$here/$name"; done`;
const packages = prerequisites.map((each) => each.package);

/** An apt-get that fails until it has fetched its index, as in a fresh image, and installs into its own folder. */
const aptGet = `here=$(dirname "$0"); echo "$@" >> "$here/calls"
case "$*" in
*update*) : > "$here/index" ;;
*install*) [ -f "$here/index" ] || { echo "E: Unable to locate package" >&2; exit 100; }
  case "$*" in *--download-only*) exit 0 ;; esac
  ${makeAll} ;;
esac`;
const missing = () => missingPrerequisites().map(({ program }) => program);

needing(test, "sh", "dirname", "chmod")(
  "who may install, and has apt-get, gets what is missing, an index of packages fetched where there is none",
  async () => {
    const bin = machine("debian", ["sh", "dirname", "chmod"], { "apt-get": aptGet });
    await on(bin, async () => {
      assert.equal(missing(), prerequisites.map(({ program }) => program));
      const said: string[] = [];
      await installPrerequisites((text) => said.push(text), true);
      assert.equal(missing(), []);
      assert.equal(said, [`Installing ${packages.join(" ")} (apt-get) …`]);
      const calls = readFileSync(join(bin, "calls"), "utf8").trim().split("\n");
      assert.equal(calls.map((call) => /--download-only|install|update/.exec(call)?.[0]), [
        "--download-only",
        "update",
        "--download-only",
        "install",
      ]);
      await installPrerequisites((text) => said.push(text), true);
      assert.is(readFileSync(join(bin, "calls"), "utf8").trim().split("\n").length, 4, "nothing is left to install");
    });
  },
);

/** An apt-get after an installation that was ended half-way: it installs once dpkg has finished that one. */
const interrupted = `here=$(dirname "$0"); echo "apt-get $@" >> "$here/calls"
case "$*" in *--download-only* | *update*) exit 0 ;; esac
[ -f "$here/configured" ] || {
  echo "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem." >&2; exit 100; }
# The package that was being unpacked counts as installed from then on.
case "$*" in *--reinstall*) ;; *) exit 0 ;; esac
${makeAll}`;

needing(test, "sh", "dirname", "chmod")(
  "bug: after an installation that was ended half-way (dpkg was interrupted) nothing could be installed",
  async () => {
    const dpkg = `here=$(dirname "$0"); echo "dpkg $@" >> "$here/calls"; : > "$here/configured"`;
    const bin = machine("interrupted", ["sh", "dirname", "chmod"], { "apt-get": interrupted, dpkg });
    const said: string[] = [];
    await on(bin, async () => {
      await installPrerequisites((text) => said.push(text), true);
      assert.equal(missing(), []);
    });
    assert.equal(said, [
      `Installing ${packages.join(" ")} (apt-get) …`,
      "An earlier installation was interrupted: dpkg --configure -a finishes it first …",
    ]);

    const broken = machine("broken", ["sh", "dirname"], {
      "apt-get": interrupted,
      dpkg: "echo 'dpkg: no space' >&2; exit 1",
    });
    await on(broken, () => installPrerequisites((text) => said.push(text), true));
    assert.match(said.at(-1) ?? "", "Cannot install");
    assert.match(said.at(-1) ?? "", "dpkg ended with 1: dpkg: no space");
  },
);

test("bug: where pki was installed without its plugins, npm test did not install them", async () => {
  const bin = machine("bare", ["sh"], { ...installed, pki: "echo 'loaded plugins: aes openssl-like curl'" });
  await on(bin, () => assert.equal(missing(), ["pki-openssl"]));
  await on(machine("all", ["sh"], installed), () => assert.equal(missing(), []));
});

test("an apt-get that fails is told in one line, and is no failure", async () => {
  const bin = machine("offline", ["sh"], { "apt-get": "echo noise >&2; echo 'E: no network' >&2; exit 100" });
  const said: string[] = [];
  await on(bin, () => installPrerequisites((text) => said.push(text), true));
  assert.is(said.at(-1), `Cannot install ${packages.join(" ")}: apt-get ended with 100: E: no network`);
});

test("who is not root installs nothing, and is told the command with sudo", async () => {
  const bin = machine("ordinary", [], { "apt-get": aptGet });
  const said: string[] = [];
  await on(bin, () =>
    unprivileged(async () => {
      await installPrerequisites((text) => said.push(text));
      assert.equal(said, []);
      assert.equal(coverageLines({ openssl: 2, bwrap: 1 }, []), [
        "Not covered:",
        "  2 tests without openssl: what the openssl program reads and writes",
        "  1 test without bwrap: cells of levels full and root",
        `To cover it: sudo apt-get install -y ${packages.join(" ")}`,
      ]);
    }));
});

test("without apt-get the packages are named; where programs are there but not allowed, root is", async () => {
  const bin = machine("other", []);
  await on(bin, async () => {
    await installPrerequisites(() => assert.unreachable());
    const [, , last] = coverageLines({ bwrap: 1 }, []);
    assert.is(last, `To cover it: install ${packages.join(" and ")} with this system's package manager`);
  });
  const both = machine("both", [], installed);
  await on(both, () => assert.is(coverageLines({ [fullCells]: 1 }, []).at(-1), "To cover it: sudo npm test"));
  assert.equal(coverageLines({}, []), []);
});

const head = `import { suite } from "uvu"; import * as assert from "uvu/assert";
import { isFullCell, needing, where } from "../../support/prerequisites.ts";`;

/** `npm test` of one file on a machine with nothing in PATH, or with openssl alone. */
async function gate(file: string, bin: string, env: Readonly<Record<string, string>> = {}) {
  const [command, ...before] = scriptCommand(ownRuntime);
  const args = [...before, "scripts/check.ts", "--runtime", ownRuntime, file];
  return await runCommand(command, args, { env: { NO_COLOR: "1", PATH: bin, ...env }, timeoutMs: 60_000 });
}

test("a test that needs a program is skipped without it: exit 0, and the closing lines say so; in CI it fails", async () => {
  const file = join(folder, "needing.test.ts");
  writeFileSync(
    file,
    `${head} const test = suite("planted"); test("x", () => {}); let ran = 0;
const some = needing(test, "openssl"); some.before(() => { ran += 1; }); some("y", () => { ran += 1; });
test("z", async () => { await where("openssl", () => { ran += 1; }); });
test("w", () => { isFullCell("namespaces"); console.log("ran " + ran); }); test.run();
const whole = needing(suite("whole"), "openssl"); whole("v", () => {}); whole.run();\n`,
  );
  const without = await gate(file, machine("empty", []), { CI: "" });
  const lines = without.stdout.trim().split("\n");
  assert.is(without.code, 0, without.stdout);
  assert.is(lines.at(-1), "3 passed, 0 failed, 2 skipped");
  assert.match(without.stdout, "3 tests without openssl: what the openssl program reads and writes\n");
  assert.match(without.stdout, "1 test without bwrap: cells of levels full and root\n");
  assert.match(without.stdout, `To cover it: install ${packages.join(" and ")} with`);

  const strict = await gate(file, join(machines, "empty"), { CI: "true" });
  assert.is(strict.code, 1, strict.stdout);
  assert.is(strict.stdout.trim().split("\n").at(-1), "3 passed, 2 failed");
  assert.match(strict.stdout, "CI is set, and openssl, bwrap is missing");

  const there = await gate(file, machine("with", [], installed), {
    CI: "",
  });
  assert.is(there.stdout.trim().split("\n").at(-1), "5 passed, 0 failed", there.stdout);
  assert.match(there.stdout, "cells of level full: this machine does not allow them");
});

test("what only root may do is skipped for others, and told", async () => {
  const file = join(folder, "root.test.ts");
  const body = (uid: number) =>
    `${head} import process from "node:process"; import { asRoot } from "../../support/prerequisites.ts";
process.geteuid = () => ${uid}; const test = suite("p"); asRoot(test)("x", () => {}); test.run();\n`;
  const ran = async (uid: number) => {
    writeFileSync(file, body(uid));
    return (await gate(file, join(machines, "with"), { CI: "" })).stdout;
  };
  assert.match(await ran(0), /\n1 passed, 0 failed\n$/);
  const stdout = await ran(1_000);
  assert.match(stdout, "0 passed, 0 failed, 1 skipped");
  assert.match(stdout, "1 test without root's rights: what a worker does as root\nTo cover it: sudo npm test\n");
});

test("a file of which nothing runs here is no failure, but one without a test is", async () => {
  const file = join(folder, "nothing.test.ts");
  writeFileSync(file, `${head} const test = needing(suite("p"), "openssl"); test("x", () => {}); test.run();\n`);
  const { code, stdout } = await gate(file, join(machines, "empty"), { CI: "" });
  assert.equal([code, stdout.trim().split("\n").at(-1)], [0, "0 passed, 0 failed, 1 skipped"], stdout);
});

test.run();
