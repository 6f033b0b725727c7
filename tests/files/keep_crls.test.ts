/** What the keeper of lists may replace, and what it leaves alone. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type HeldFile, keepTrust } from "../../actors/files/keep_crls.ts";
import { keepApart } from "../../actors/files/read_crls.ts";
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

/**
 * Keeps lists of a file, where these are in force; `held`: what the trust store knows of the kept files; `meanwhile`: what happens
 * when a file is written aside.
 */
async function keep(
  state: string,
  ders: readonly Uint8Array[],
  held: ReadonlyMap<string, HeldFile> = new Map(),
  meanwhile = () => {},
) {
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
  const kept = Effect.gen(function* () {
    const files = yield* FileSystem;
    const open: FileSystem["open"] = (path, options) => {
      if (path.endsWith(".tmp")) meanwhile();
      return files.open(path, options);
    };
    yield* Effect.provideService(keepTrust(state, work, ledger), FileSystem, { ...files, open });
  });
  await Effect.runPromise(Effect.provide(kept, realServices));
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

/** Another list takes the place of a file. */
function put(path: string, der: Uint8Array) {
  writeFileSync(`${path}.arrived`, der);
  renameSync(`${path}.arrived`, path);
}

test("bug: a list that took its place while the keeper wrote was replaced by an older one, or removed", async () => {
  const { state, path } = place();
  const delta = (number: bigint) =>
    forgeList(root, { number, add: [{ oid: "2.5.29.27", critical: true, value: integer(5) }] });
  const held = (files: ReadonlyMap<string, HeldFile | undefined>) =>
    new Map([...files].map(([each, file]) => [each, file!]));
  const first = held(await keep(state, [list(5n), delta(7n)]));
  const told = await keep(state, [list(8n)], first, () => put(path("delta"), delta(9n)));
  assert.ok(readFileSync(path()).equals(list(8n)));
  assert.ok(existsSync(path("delta")), "the delta that arrived is there");
  assert.equal([...told.keys()], [path()]);
  const second = held(told);
  await keep(state, [list(10n)], second, () => put(path(), list(11n)));
  assert.ok(readFileSync(path()).equals(list(11n)), "the list that arrived is there");
  rmSync(path());
  await keep(state, [list(12n)], new Map(), () => put(path(), list(13n)));
  assert.ok(readFileSync(path()).equals(list(13n)), "where no list was before");
});

test("the thread that copies large lists replaces no file that another put there", async () => {
  const { state, path } = place();
  const source = join(state, "source.crl");
  const targets = (before: string) => [{ path: path(), hashes: [hash(list(6n))], before }];
  const copied = async (before: string) =>
    (await Effect.runPromise(keepApart({ source, targets: targets(before) }))).length;
  writeFileSync(source, list(6n));
  writeFileSync(path(), list(5n));
  assert.is(await copied("NotFound"), 0);
  assert.ok(readFileSync(path()).equals(list(5n)));
  // Times have nanoseconds, which may be rounded in more than one way.
  utimesSync(path(), 1_700_000_000.0007, 1_700_000_000.0007);
  assert.is(await copied(await look(path())), 1);
  assert.ok(readFileSync(path()).equals(list(6n)));
  rmSync(path());
  assert.is(await copied("NotFound"), 1);
});

test.run();
