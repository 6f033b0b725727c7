/** README's tour by hand, taken as it stands there, with the programs of this tree. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runCommand } from "../../scripts/gate/command.ts";
import { needing } from "../support/prerequisites.ts";
import { freePort } from "../support/program.ts";

const test = suite("README");
const folder = mkdtempSync(join(tmpdir(), "hypha-tour-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** The commands of the section that begins with this heading. */
function commandsOf(heading: string): string {
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  const section = readme.slice(readme.indexOf(`\n## ${heading}`));
  return /```sh\n([\s\S]*?)```/.exec(section)?.[1] ?? "";
}

needing(test, "bash", "openssl")("its tour leads from an empty folder to a worker that is revoked", async () => {
  const port = await freePort();
  const programs = fileURLToPath(new URL("../../scripts", import.meta.url));
  const run = "Deno" in globalThis ? "run -A --quiet --no-check" : "--no-warnings";
  const tour = commandsOf("A tour by hand")
    .replaceAll("/tcp/4001", `/tcp/${port}`)
    .replace("kill %1\n", "");
  const [before, last] = tour.split(/\n(?=hypha-worker probe [^\n]*exit 1)/);
  assert.ok(before !== undefined && last !== undefined, "the tour ends with the probe that fails");
  const bin = join(folder, "bin");
  mkdirSync(bin);
  for (const name of ["certutil", "gateway", "worker"]) {
    const command = `#!/bin/sh\nexec '${process.execPath}' ${run} '${programs}/hypha_${name}.ts' "$@"\n`;
    writeFileSync(join(bin, `hypha-${name}`), command, { mode: 0o755 });
  }
  const script = `
    set -e
    PATH='${bin}':$PATH
    export HYPHA_LISTEN_ADDRESSES=/ip4/127.0.0.1/tcp/${port}
    trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
    ${before}
    for try in 1 2 3 4 5; do
      if ! { ${last}
      }; then echo refused; exit 0; fi
    done
    exit 1`;
  const { code, stdout, stderr } = await runCommand("bash", ["-c", script], { cwd: folder, timeoutMs: 40_000 });
  assert.is(code, 0, `${stdout}\n${stderr}`);
  assert.match(stdout, "gateway-01-cert.pem: OK");
  assert.match(stdout, "X509v3 CRL Number");
  assert.match(stdout, " is healthy (12D3KooW");
  assert.match(stderr, "hung-up");
  assert.match(stderr, /peer\.refused.*code=certificate-revoked/);
});

test.run();
