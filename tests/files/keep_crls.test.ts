/** What the keeper of lists may replace, and what it leaves alone. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type HeldFile, keepTrust } from "../../actors/files/keep_crls.ts";
import { signatureOf } from "../../actors/files/read_whole.ts";
import { keptPath } from "../../actors/files/state_directory.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { raiseMarks } from "../../pki/crl_marks.ts";
import { CrlReader } from "../../pki/crl_reader.ts";
import { integer } from "../../pki/issue/der_writer.ts";
import { readAuthorities } from "../../pki/trust.ts";
import { forge, forgeList } from "../support/forge.ts";

const test = suite("keepTrust()");
const folder = mkdtempSync(join(tmpdir(), "hypha-keep-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const root = forge("root", { ca: true });
const cas = Result.getOrThrow(readAuthorities(root.pem));
const key = createHash("sha256").update(cas[0]!.publicKey.spki).digest("hex");
const hash = (der: Uint8Array) => createHash("sha256").update(der).digest("hex");
const list = (number: bigint) => forgeList(root, { number });
let states = 0;

function read(ders: readonly Uint8Array[]) {
  const reader = new CrlReader({ cas });
  reader.push(Buffer.concat(ders));
  return Result.getOrThrow(reader.finish()).map(({ list }) => list);
}

/** Keeps lists of a file, where these are in force; `held`: what the trust store knows of the kept files. */
async function keep(state: string, ders: readonly Uint8Array[], held: ReadonlyMap<string, HeldFile> = new Map()) {
  const lists = read(ders);
  const told = new Map<string, HeldFile | undefined>();
  const work = {
    marks: raiseMarks({}, "@own", lists),
    lists: new Map([["@own", lists]]),
    sources: new Map([["@own", { bytes: Buffer.concat(ders) }]]),
    held,
  };
  const ledger = {
    written: new Map(),
    onKept: (_: string, path: string, file?: HeldFile) => void told.set(path, file),
  };
  await Effect.runPromise(Effect.provide(keepTrust(state, work, ledger), realServices));
  return told;
}
const place = () => {
  const state = join(folder, String(states++));
  const path = (kind: "complete" | "delta" = "complete") =>
    keptPath(state, { domain: "@own", key, scope: "all", kind });
  mkdirSync(dirname(path()), { recursive: true });
  return { state, path };
};
const look = (path: string) => Effect.runPromise(Effect.provide(signatureOf(path), realServices));

test("writes what is missing and what it knows, and tells what each file looks like then", async () => {
  const { state, path } = place();
  const first = await keep(state, [list(5n)]);
  assert.ok(readFileSync(path()).equals(list(5n)));
  assert.equal(first.get(path()), { hashes: hash(list(5n)), signature: await look(path()) });
  const held = new Map([[path(), first.get(path())!]]);
  assert.is((await keep(state, [list(5n)], held)).size, 0, "it is there");
  await keep(state, [list(6n)], held);
  assert.ok(readFileSync(path()).equals(list(6n)));
});

test("leaves alone what another put there since the trust store looked", async () => {
  const { state, path } = place();
  const first = await keep(state, [list(5n)]);
  writeFileSync(`${path()}.new`, list(9n));
  rmSync(path());
  writeFileSync(path(), list(9n));
  assert.is((await keep(state, [list(6n)], new Map([[path(), first.get(path())!]]))).size, 0);
  assert.ok(readFileSync(path()).equals(list(9n)), "the store has not read it yet");
  const seen = new Map([[path(), { hashes: hash(list(9n)), signature: await look(path()) }]]);
  await keep(state, [list(10n)], seen);
  assert.ok(readFileSync(path()).equals(list(10n)));
});

test("removes a delta that is needless, and no delta that another put there", async () => {
  const { state, path } = place();
  const delta = forgeList(root, { number: 7n, add: [{ oid: "2.5.29.27", critical: true, value: integer(5) }] });
  const first = await keep(state, [list(5n), delta]);
  assert.ok(existsSync(path("delta")));
  const unknown = new Map([[path("delta"), { hashes: hash(delta), signature: "another" }]]);
  await keep(state, [list(8n)], unknown);
  assert.ok(existsSync(path("delta")));
  const told = await keep(state, [list(8n)], new Map([[path("delta"), first.get(path("delta"))!]]));
  assert.equal([existsSync(path("delta")), [...told.keys()]], [false, [path("delta")]]);
});

test.run();
