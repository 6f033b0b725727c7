/** What a reading of the trust store opens. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import { systemError } from "effect/PlatformError";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { keptPath } from "../../actors/files/state_directory.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { noSources, type TrustPaths, type TrustTerms } from "../../actors/trust/load_trust.ts";
import { filesRead, type Reading, readTrust } from "../../actors/trust/trust_reading.ts";
import type { Ports } from "../../actors/runtime/ports.ts";
import { integer } from "../../pki/issue/der_writer.ts";
import { formatSpiffeBundle } from "../../pki/spiffe_bundle.ts";
import { defaultPolicy, domainOf, readAuthorities } from "../../pki/trust.ts";
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

/** A reading after another; the file `busy` cannot be opened. */
async function read(
  terms: TrustTerms,
  known: Reading | undefined,
  wants: "all" | "learned",
  { paths: files = paths, busy }: { readonly paths?: TrustPaths; readonly busy?: string | undefined } = {},
) {
  const opened: string[] = [];
  const outcome = known?.outcome;
  const before = outcome !== undefined && Result.isSuccess(outcome) ? outcome.success : undefined;
  const sources = before?.sources ?? noSources;
  const now = { ...terms, seenLists: before?.lists, learned: before?.learned, crlMarks: before?.crlMarks };
  const reading = Effect.flatMap(FileSystem, (real) => {
    const counting: FileSystem = {
      ...real,
      open: (path, options) => {
        opened.push(path);
        if (path !== busy) return real.open(path, options);
        return Effect.fail(
          systemError({ _tag: "Unknown", module: "FileSystem", method: "open", description: "EMFILE" }),
        );
      },
    };
    const input = { ports: {} as Ports, paths: files, terms: now, known: { sources, loadedAs: new Map() }, wants };
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

/** Number of the partner's anchors after a reading, and what the watch learns of it. */
function partnerAfter(reading: Reading) {
  assert.ok(reading.scope === "all" && Result.isSuccess(reading.outcome));
  const { snapshot, previous } = reading.outcome.success;
  const { mendsItself, problem } = filesRead(reading);
  return {
    anchors: domainOf(snapshot, "partner.example").anchors.length,
    previous: [...previous],
    mendsItself,
    problem,
  };
}

test("bug: a fetched bundle that could not be read once was taken for none, for good: the partner had no anchor", async () => {
  const trust = join(folder, "partner.json");
  const authorities = Result.getOrThrow(readAuthorities(other.pem));
  const bundle = formatSpiffeBundle(authorities, { sequence: 1, refreshHintSeconds: undefined });
  const domains = [{
    name: "partner.example",
    trust,
    fetched: true,
    pin: keyOf(other.pem),
    crlsPem: undefined,
  }] as const;
  const partners = { paths: { trustPem, crlsPem: undefined, domains } };
  const terms: TrustTerms = { policy: defaultPolicy, generation: 1, at };
  writeFileSync(trustPem, root.pem);
  writeFileSync(trust, bundle);
  const kept = { anchors: 1, previous: [trust], mendsItself: true, problem: `${trust} unreadable` };
  const whole = { anchors: 1, previous: [], mendsItself: false, problem: undefined };
  const first = await read(terms, undefined, "all", partners);
  assert.equal(partnerAfter(first.reading), whole);
  const second = await read(terms, first.reading, "all", { ...partners, busy: trust });
  assert.equal(partnerAfter(second.reading), kept);
  const third = await read(terms, second.reading, "all", { ...partners, busy: trust });
  assert.equal(partnerAfter(third.reading), kept, "the content is kept for more than one reading");
  assert.equal(partnerAfter((await read(terms, third.reading, "all", partners)).reading), whole);
  const start = await read(terms, undefined, "all", { ...partners, busy: trust });
  assert.equal(partnerAfter(start.reading), { ...kept, anchors: 0 }, "no start ends by it");
  writeFileSync(trust, bundle.slice(0, 100));
  const torn = await read(terms, first.reading, "all", partners);
  assert.equal(partnerAfter(torn.reading), { ...kept, mendsItself: false, problem: `${trust} malformed` });
  writeFileSync(
    trust,
    formatSpiffeBundle(Result.getOrThrow(readAuthorities(root.pem)), { sequence: 2, refreshHintSeconds: undefined }),
  );
  const unpinned = await read(terms, first.reading, "all", partners);
  assert.equal(partnerAfter(unpinned.reading), { ...kept, mendsItself: false, problem: `${trust} rejected` });
  rmSync(trust);
  const gone = await read(terms, first.reading, "all", partners);
  assert.equal(partnerAfter(gone.reading), { ...whole, anchors: 0 }, "a file that was removed has no anchor");
});

test.run();
