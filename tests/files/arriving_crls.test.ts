/** Revocation lists that arrive in the state directory: pieces, verification, their place; and pieces read for others. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  addPiece,
  clearIncoming,
  type CrlIssuer,
  incomingPath,
  readPiece,
  takeCrl,
} from "../../actors/files/arriving_crls.ts";
import { keptPath } from "../../actors/files/state_directory.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { markKey, ownDomain } from "../../pki/crl_marks.ts";
import { issueCrlDer } from "../../pki/issue/issue_crl.ts";
import { defaultPolicy } from "../../pki/trust.ts";
import { ownRuntime } from "../../scripts/check/runtimes.ts";
import { makeTestPki } from "../support/pki.ts";

const test = suite("arriving lists");
const folder = mkdtempSync(join(tmpdir(), "hypha-learned-"));
const pki = await makeTestPki();
const other = await makeTestPki({ organization: "Other" });
const run = <A, E>(effect: Effect.Effect<A, E, FileSystem | Path>): Promise<A> =>
  Effect.runPromise(Effect.provide(effect, realServices) as Effect.Effect<A, E>);
const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

const certificate = Result.getOrThrow(parseCertificate(pki.intermediate.der));
const anchor: CrlIssuer = {
  domain: ownDomain,
  key: markKey(certificate),
  certificate,
  policy: defaultPolicy,
};

let folders = 0;
function place() {
  const stateDir = join(folder, String(++folders));
  const arrive = async (der: Uint8Array, pieceBytes = der.length) => {
    const sha256 = hashOf(der);
    for (let offset = 0; offset < der.length; offset += pieceBytes) {
      await run(addPiece(stateDir, { sha256, offset, bytes: der.subarray(offset, offset + pieceBytes) }));
    }
    return sha256;
  };
  const take = async (
    der: Uint8Array,
    options: { newest?: string; effective?: string; issuer?: CrlIssuer; at?: Date; sha256?: string } = {},
  ) => {
    const { newest, effective, issuer = anchor, at = new Date() } = options;
    const sha256 = options.sha256 ?? await arrive(der);
    const held = { newest: () => newest, effective: () => effective };
    return run(takeCrl({ stateDir, sha256, sizeBytes: der.length, issuer, ...held, at }));
  };
  return { stateDir, arrive, take };
}
const list = (number: bigint, more: Partial<Parameters<typeof issueCrlDer>[0]> = {}) =>
  issueCrlDer({
    issuer: pki.intermediate,
    revoked: [],
    number,
    thisUpdate: new Date(Date.now() - 1_000),
    nextUpdate: new Date(Date.now() + 3_600_000),
    ...more,
  });

test("pieces make the file, whatever their size; a piece that broke off is written again", async () => {
  const { stateDir, arrive } = place();
  await run(clearIncoming(stateDir));
  const bytes = new Uint8Array(10_000).map((_, index) => index);
  const sha256 = await arrive(bytes, 999);
  const path = incomingPath(stateDir, sha256);
  assert.equal(new Uint8Array(readFileSync(path)), bytes);
  assert.is(statSync(path).mode & 0o777, 0o600);
  await run(addPiece(stateDir, { sha256, offset: 5_000, bytes: bytes.subarray(5_000, 6_000) }));
  assert.is(statSync(path).size, 6_000);
  const gap = await run(Effect.result(addPiece(stateDir, { sha256, offset: 7_000, bytes })));
  assert.ok(Result.isFailure(gap), "a gap is no file");
  await run(clearIncoming(stateDir));
  assert.equal(readdirSync(join(stateDir, "crls", ".incoming")), []);
});

test("a list that an anchor signed gets into its place", async () => {
  const { stateDir, take } = place();
  await run(clearIncoming(stateDir));
  const der = await list(7n);
  const outcome = await take(der, { newest: "6" });
  const path = keptPath(stateDir, { domain: ownDomain, key: anchor.key, scope: "all", kind: "complete" });
  assert.is(outcome.type === "taken" && outcome.crl.path, path);
  assert.is(outcome.type === "taken" && outcome.crl.number, "7");
  assert.is(hashOf(readFileSync(path)), hashOf(der));
  assert.is(statSync(path).mode & 0o777, 0o600);
  assert.is(existsSync(incomingPath(stateDir, hashOf(der))), false);
});

test("bug: a complete list with the number of the delta in force took the place of its base, and cleared what both revoke", async () => {
  const { stateDir, take } = place();
  await run(clearIncoming(stateDir));
  assert.is((await take(await list(9n), { newest: "7", effective: "9" })).type, "old");
  const path = keptPath(stateDir, { domain: ownDomain, key: anchor.key, scope: "all", kind: "complete" });
  assert.not(existsSync(path));
  for (const number of [8n, 10n]) {
    assert.is((await take(await list(number), { newest: "7", effective: "9" })).type, "taken", `${number}`);
  }
});

test("a delta gets a place of its own", async () => {
  const { stateDir, take } = place();
  await run(clearIncoming(stateDir));
  const outcome = await take(await list(9n, { base: 7n }), { newest: "8" });
  const path = keptPath(stateDir, { domain: ownDomain, key: anchor.key, scope: "all", kind: "delta" });
  assert.is(outcome.type === "taken" && outcome.crl.path, path);
  assert.is(outcome.type === "taken" && outcome.crl.baseNumber, "7");
});

test("what is not the list, or not signed by its issuer, is removed", async () => {
  const { stateDir, take, arrive } = place();
  await run(clearIncoming(stateDir));
  const der = await list(7n);
  const forged = await list(8n, { issuer: other.intermediate });
  const broken = der.slice();
  broken[broken.length - 1]! ^= 1;
  const named = await arrive(forged);
  const cases: [string, Uint8Array, { sha256?: string; issuer?: CrlIssuer }][] = [
    ["another CA's list", forged, { sha256: named }],
    ["a broken signature", broken, {}],
    ["random bytes", new Uint8Array(100).fill(7), {}],
    ["two lists", new Uint8Array([...der, ...der]), {}],
    ["PEM", new TextEncoder().encode(await pki.crl(pki.intermediate)), {}],
  ];
  for (const [name, bytes, options] of cases) {
    const outcome = await take(bytes, options);
    assert.is(outcome.type, "wrong", name);
  }
  // The bytes of one list under the name of another.
  await run(addPiece(stateDir, { sha256: hashOf(der), offset: 0, bytes: await list(99n) }));
  assert.is((await take(await list(99n), { sha256: hashOf(der) })).type, "wrong");
  assert.equal(readdirSync(join(stateDir, "crls", ".incoming")), []);
  assert.equal(readdirSync(join(stateDir, "crls")), [".incoming"]);
});

test("an older list is removed; one with the same number and other content is put beside", async () => {
  const { stateDir, take } = place();
  await run(clearIncoming(stateDir));
  await take(await list(7n));
  assert.is((await take(await list(6n), { newest: "7" })).type, "old");
  const twins = [await list(7n, { revoked: [{ serial: "01", date: new Date(1_000_000_000_000) }] })];
  twins.push(await list(7n, { revoked: [{ serial: "02", date: new Date(1_000_000_000_000) }] }));
  for (const twin of twins) {
    const outcome = await take(twin, { newest: "7" });
    assert.is(outcome.type === "taken" && outcome.crl.kind, "other");
  }
  const path = keptPath(stateDir, { domain: ownDomain, key: anchor.key, scope: "all", kind: "other" });
  assert.is(hashOf(readFileSync(path)), hashOf(new Uint8Array(twins.flatMap((twin) => [...twin]))));
  assert.equal(readdirSync(join(stateDir, "crls", ".incoming")), []);
});

test("bug: a list whose bytes were gone counted as an old one", async () => {
  const { stateDir, take } = place();
  await run(clearIncoming(stateDir));
  const der = await list(7n);
  assert.equal(await take(der, { sha256: hashOf(der) }), { type: "lost" });
});

test("a list from the future stays aside, and is taken in its time", async () => {
  const { stateDir, take } = place();
  await run(clearIncoming(stateDir));
  const from = new Date(Math.ceil(Date.now() / 1_000) * 1_000 + 60_000);
  const der = await list(7n, { thisUpdate: from, nextUpdate: new Date(from.getTime() + 3_600_000) });
  const sha256 = hashOf(der);
  assert.equal(await take(der, { at: new Date(from.getTime() - 1) }), { type: "ahead", until: from });
  assert.ok(existsSync(incomingPath(stateDir, sha256)));
  assert.is((await take(der, { sha256, at: from })).type, "taken");
});

test("a piece is read of the list that was asked for, and of no other", async () => {
  const path = join(folder, "list");
  const [bytes, next] = [new Uint8Array(1_000).fill(1), new Uint8Array(1_000).fill(2)];
  writeFileSync(path, bytes);
  const read = (offset: number, unchanged?: string) =>
    run(readPiece({ path, sha256: hashOf(bytes), offset, unchanged }, 600));
  const first = await read(0);
  assert.equal([first?.bytes.length, first?.bytes[0]], [600, 1]);
  assert.is((await read(600, first?.signature))?.bytes.length, 400);
  assert.is((await read(1_000, first?.signature))?.bytes.length, 0);
  // As every list takes its place: a new file could have the number of a removed one.
  writeFileSync(`${path}.next`, next);
  renameSync(`${path}.next`, path);
  assert.is(await read(0, first?.signature), undefined, "another list took its place");
  rmSync(path);
  const gone = await run(
    Effect.result(readPiece({ path, sha256: hashOf(bytes), offset: 0, unchanged: undefined }, 600)),
  );
  assert.is(Result.isFailure(gone) && gone.failure.reason._tag, "NotFound");
});

(ownRuntime === "deno" ? test : () => {})(
  "bug: a node with the permissions that it needs on Deno took no list: FileSystem.exists asks for the user's id",
  async () => {
    const { stateDir } = place();
    const files = { issuer: join(folder, "issuer.der"), list: join(folder, "list.der") };
    writeFileSync(files.issuer, pki.intermediate.der);
    writeFileSync(files.list, await list(8n));
    const child = new URL("../support/arriving_child.ts", import.meta.url).pathname;
    const tree = new URL("../..", import.meta.url).pathname;
    const { status, stdout, stderr } = spawnSync(process.execPath, [
      ...["run", "--quiet", "--no-check", "--no-prompt", "--ignore-env", "--allow-env"],
      `--allow-read=${folder},${tree}`,
      `--allow-write=${stateDir}`,
      ...[child, stateDir, files.issuer, files.list],
    ], { encoding: "utf8", timeout: 30_000 });
    assert.equal([status, stdout], [0, "taken\n"], stderr);
  },
);

test.after(() => rmSync(folder, { recursive: true, force: true }));
test.run();
