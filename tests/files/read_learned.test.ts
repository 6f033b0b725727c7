/** Reading of the lists in the state directory: what is read again, and what is not. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { apartBytesMin } from "../../actors/files/read_crls.ts";
import { type LearnedFiles, type LearnedFor, readLearned } from "../../actors/files/read_learned.ts";
import { keptFolder, lookAtKept } from "../../actors/files/state_directory.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import type { HeldCrl } from "../../pki/crl.ts";
import { integer } from "../../pki/issue/der_writer.ts";
import { defaultPolicy, readAuthorities } from "../../pki/trust.ts";
import { at, forge, forgeList, type ForgeListOptions, later } from "../support/forge.ts";

const test = suite("readLearned()");
const folder = mkdtempSync(join(tmpdir(), "hypha-read-learned-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const root = forge("root", { ca: true });
const cas = Result.getOrThrow(readAuthorities(root.pem));
const key = createHash("sha256").update(cas[0]!.publicKey.spki).digest("hex");
const delta = (base: number): ForgeListOptions => ({
  add: [{ oid: "2.5.29.27", critical: true, value: integer(base) }],
});
const serials = Array.from({ length: 12_000 }, (_, index) => (0x10000000 + index).toString(16));
let states = 0;

interface Reading {
  readonly files: LearnedFiles;
  /** Files that were opened in this thread. */
  readonly opened: readonly string[];
  readonly events: readonly string[];
}

function place() {
  const state = join(folder, String(states++));
  mkdirSync(keptFolder(state, "@own"), { recursive: true });
  const path = (kind = "") => join(keptFolder(state, "@own"), `${key}-all${kind}.crl`);
  const put = (to: string, der: Uint8Array) => {
    writeFileSync(`${to}.part`, der);
    renameSync(`${to}.part`, to);
  };
  const read = async (before: LearnedFiles = new Map(), more: Partial<LearnedFor> = {}): Promise<Reading> => {
    const opened: string[] = [];
    const terms: LearnedFor = {
      ...{ domain: "@own", cas, policy: defaultPolicy, marks: {}, marksFile: "read", at, known: [], before },
      ...{ when: "running", retry: "none", ...more },
    };
    const reading = Effect.gen(function* () {
      const real = yield* FileSystem;
      const counting: FileSystem = { ...real, open: (path, options) => (opened.push(path), real.open(path, options)) };
      const seen = yield* lookAtKept(state, ["@own"]);
      return yield* Effect.provideService(readLearned(seen, terms), FileSystem, counting);
    });
    const { files, reports } = await Effect.runPromise(Effect.provide(reading, realServices));
    return { files, opened, events: reports.map(({ event }) => event) };
  };
  return { path, put, read };
}
const listsOf = ({ files }: Reading): readonly HeldCrl[] => [...files.values()].flatMap(({ lists }) => lists);
const numbersOf = (reading: Reading) => listsOf(reading).map(({ number }) => number).toSorted();

test("reads again what changed, and nothing else", async () => {
  const { path, put, read } = place();
  put(path(), forgeList(root, { number: 5n }));
  put(path("-delta"), forgeList(root, { number: 7n, ...delta(5) }));
  const first = await read();
  assert.equal([numbersOf(first), first.opened.length], [["5", "7"], 2]);
  assert.ok(listsOf(first).every(({ learned }) => learned));
  put(path("-delta"), forgeList(root, { number: 8n, ...delta(5) }));
  const second = await read(first.files);
  assert.equal([numbersOf(second), second.opened], [["5", "8"], [path("-delta")]]);
  assert.is(second.files.get(path()), first.files.get(path()));
  const third = await read(second.files);
  assert.equal([third.opened, third.files], [[], second.files]);
});

test("a file that holds what is in memory is not parsed, and a large one not even opened here", async () => {
  const { path, put, read } = place();
  put(path(), forgeList(root, { number: 5n, revoked: serials }));
  const [known] = listsOf(await read());
  assert.ok((known?.sizeBytes ?? 0) >= apartBytesMin);
  put(path(), forgeList(root, { number: 5n, revoked: serials }));
  const again = await read(new Map(), { known: [known!] });
  assert.equal([again.opened, listsOf(again)[0]?.index === known!.index], [[], true]);
  const sameSize = forgeList(root, { number: 6n, revoked: serials });
  assert.is(sameSize.length, known!.sizeBytes, "another list of the same size");
  put(path(), sameSize);
  assert.equal(numbersOf(await read(again.files, { known: [known!] })), ["6"]);
});

test("a file that cannot be used is said once, and read again when it changes or with another bundle", async () => {
  const { path, put, read } = place();
  put(path(), forgeList(root, { number: 5n }).subarray(0, 60));
  const torn = await read();
  assert.equal([numbersOf(torn), torn.events], [[], ["state.broken"]]);
  const again = await read(torn.files);
  assert.equal([again.opened, again.events], [[], []]);
  const retried = await read(again.files, { retry: "unusable" });
  assert.equal([retried.opened.length, retried.events], [1, []]);
  put(path(), forgeList(root, { number: 5n }));
  assert.equal(numbersOf(await read(retried.files)), ["5"]);
});

test("at a start a torn file is removed; one that cannot be read stays", async () => {
  const { path, put, read } = place();
  put(path(), new Uint8Array(0));
  mkdirSync(path("-other"));
  const { files, events } = await read(new Map(), { when: "start" });
  assert.equal([[...files.keys()], events], [[path("-other")], ["state.broken", "state.broken"]]);
});

test("a list dated ahead is read again at its moment", async () => {
  const { path, put, read } = place();
  put(path(), forgeList(root, { number: 6n, thisUpdate: later(1), nextUpdate: later(9) }));
  const early = await read();
  assert.equal([numbersOf(early), early.files.get(path())?.dueAt], [[], later(1).getTime()]);
  assert.equal((await read(early.files)).opened, []);
  assert.equal(numbersOf(await read(early.files, { at: later(1) })), ["6"]);
});

test("lists of a CA that the bundle lacks count once it has it", async () => {
  const { path, put, read } = place();
  put(path(), forgeList(root, { number: 5n }));
  const stranger = await read(new Map(), { cas: [] });
  assert.equal([numbersOf(stranger), stranger.events], [[], []]);
  assert.equal(numbersOf(await read(stranger.files, { retry: "none" })), []);
  assert.equal(numbersOf(await read(stranger.files, { retry: "unusable" })), ["5"]);
});

test("bug: each CA of the issuer's name was tried, though the file's name says whose key signed the list", async () => {
  const { path, put, read } = place();
  put(path(), forgeList(root, { number: 5n }));
  let verified = 0;
  const namesakes = Array.from({ length: 50 }, () => {
    const [ca] = Result.getOrThrow(readAuthorities(forge("root", { ca: true }).pem));
    const { algorithm, ...rest } = ca!.publicKey;
    const counting = {
      ...rest,
      get algorithm() {
        verified += 1;
        return algorithm;
      },
    };
    return { ...ca!, publicKey: counting };
  });
  assert.equal(numbersOf(await read(new Map(), { cas: [...namesakes, ...cas] })), ["5"]);
  assert.is(verified, 0);
  const stranger = await read(new Map(), { cas: namesakes });
  assert.equal([numbersOf(stranger), stranger.events, verified], [[], [], 0], "it waits for its CA");
});

test.run();
