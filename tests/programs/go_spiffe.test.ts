/**
 * go-spiffe, the library that SPIRE and its clients use, reads the bundle that a CA serves. `HYPHA_GO=1` runs it: Go builds for a
 * minute, and fetches its modules the first time.
 */
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { formatSpiffeBundle } from "../../pki/spiffe_bundle.ts";
import { makeTestPki } from "../support/pki.ts";
import { lacking } from "../support/prerequisites.ts";

const isAsked = process.env["HYPHA_GO"] === "1";
const isInstalled = existsSync("/usr/local/go/bin/go");
const test = suite("go-spiffe reads a bundle");
const tried = lacking(test, isInstalled ? [] : ["go"]);
const folder = mkdtempSync(join(tmpdir(), "hypha-go-"));
test.after(() => rmSync(folder, { recursive: true }));

/** Runs a program in a folder; its output, or its error's. */
function run(program: string, args: readonly string[], cwd: string): Promise<readonly [code: number, said: string]> {
  return new Promise((resolve) =>
    execFile(program, args, { cwd, timeout: 540_000 }, (error, stdout, stderr) => {
      resolve([error === null ? 0 : 1, error === null ? stdout : stderr]);
    })
  );
}

const bundleOf = async (): Promise<string> => {
  const pki = await makeTestPki();
  const cas = [pki.root, pki.intermediate].map(({ der }) => Result.getOrThrow(parseCertificate(der)));
  return formatSpiffeBundle(cas, { sequence: 7, refreshHintSeconds: 120 });
};

test("the bundle that it is given has a key for each CA, its sequence and its refresh hint", async () => {
  const { keys, spiffe_sequence, spiffe_refresh_hint } = JSON.parse(await bundleOf());
  assert.equal([keys.length, spiffe_sequence, spiffe_refresh_hint], [2, 7, 120]);
});

if (isAsked) {
  tried("go-spiffe finds the CAs, the sequence and the refresh hint in it, and refuses what is no bundle", async () => {
    const reader = join(folder, "reader");
    const source = fileURLToPath(new URL("../fixtures/go_spiffe", import.meta.url));
    const [built, said] = await run("/usr/local/go/bin/go", ["build", "-o", reader, "."], source);
    assert.is(built, 0, said);
    writeFileSync(join(folder, "bundle.json"), await bundleOf());
    const [read, text] = await run(reader, ["acme.example", "bundle.json"], folder);
    assert.is(read, 0, text);
    assert.equal(JSON.parse(text), { authorities: 2, sequence: 7, hintSeconds: 120 });
    writeFileSync(join(folder, "bundle.json"), "{");
    assert.is((await run(reader, ["acme.example", "bundle.json"], folder))[0], 1);
  });
}

test.run();
