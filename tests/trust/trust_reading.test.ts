/** What a reading of the trust store opens. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { keptPath } from "../../actors/files/state_directory.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { noSources, type TrustTerms } from "../../actors/trust/load_trust.ts";
import { type Reading, readTrust } from "../../actors/trust/trust_reading.ts";
import type { Ports } from "../../actors/runtime/ports.ts";
import { integer } from "../../pki/issue/der_writer.ts";
import { defaultPolicy, readAuthorities } from "../../pki/trust.ts";
import { at, forge, forgeList, forgeListPem } from "../support/forge.ts";

const test = suite("readTrust()");
const folder = mkdtempSync(join(tmpdir(), "hypha-reading-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const root = forge("root", { ca: true });
const other = forge("other", { ca: true });
const keyOf = (pem: string) => {
  const [ca] = Result.getOrThrow(readAuthorities(pem));
  return createHash("sha256").update(ca!.publicKey.spki).digest("hex");
};
const delta = [{ oid: "2.5.29.27", critical: true, value: integer(5) }];
const [trustPem, crlsPem, stateDir] = ["trust.pem", "crls.pem", "state"].map((name) => join(folder, name)) as [
  string,
  string,
  string,
];
const paths = { trustPem, crlsPem };
const place = (pem: string, kind: "complete" | "delta" = "complete") =>
  keptPath(stateDir, { domain: "@own", key: keyOf(pem), scope: "all", kind });
const put = (path: string, der: Uint8Array) => {
  writeFileSync(`${path}.part`, der);
  renameSync(`${path}.part`, path);
};

async function read(terms: TrustTerms, known: Reading | undefined, wants: "all" | "learned") {
  const opened: string[] = [];
  const outcome = known?.outcome;
  const before = outcome !== undefined && Result.isSuccess(outcome) ? outcome.success : undefined;
  const sources = before?.sources ?? noSources;
  const now = { ...terms, seenLists: before?.lists, learned: before?.learned, crlMarks: before?.crlMarks };
  const reading = Effect.flatMap(FileSystem, (real) => {
    const counting: FileSystem = { ...real, open: (path, options) => (opened.push(path), real.open(path, options)) };
    const input = { ports: {} as Ports, paths, terms: now, known: { sources, loadedAs: new Map() }, wants };
    return Effect.provideService(readTrust(input), FileSystem, counting);
  });
  return { reading: await Effect.runPromise(Effect.provide(reading, realServices)), opened };
}

test("a delta that is learned opens its own file alone: not the operator's, nor the base", async () => {
  writeFileSync(trustPem, root.pem + other.pem);
  writeFileSync(crlsPem, forgeListPem(other));
  mkdirSync(join(stateDir, "crls", "@own"), { recursive: true });
  put(place(root.pem), forgeList(root, { number: 5n }));
  const terms: TrustTerms = { policy: defaultPolicy, generation: 1, at, stateDir };
  const first = await read(terms, undefined, "all");
  assert.equal(first.opened, [trustPem, crlsPem, place(root.pem)]);
  put(place(root.pem, "delta"), forgeList(root, { number: 7n, add: delta }));
  const second = await read(terms, first.reading, "learned");
  assert.equal(second.opened, [place(root.pem, "delta")]);
  const { outcome } = second.reading;
  assert.ok(outcome !== undefined && Result.isSuccess(outcome));
  const numbers = (outcome.success.lists.get("@own") ?? []).map(({ number }) => number).toSorted();
  assert.equal(numbers, ["1", "5", "7"]);
  put(place(root.pem, "delta"), forgeList(root, { number: 7n, add: delta }));
  const third = await read(terms, second.reading, "learned");
  assert.equal(
    [third.opened, third.reading.outcome],
    [[place(root.pem, "delta")], undefined],
    "the same list is no news",
  );
  const all = await read(terms, second.reading, "all");
  assert.equal(all.opened.slice(0, 2), [trustPem, crlsPem]);
});

test.run();
