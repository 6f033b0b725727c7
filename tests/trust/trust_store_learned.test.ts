/** Lists that the network brings: the trust store reads and watches their files in the state directory. */
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { trustStoreMachine } from "../../actors/trust/trust_store.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { heldCrls } from "../../pki/held_crls.ts";
import { integer } from "../../pki/issue/der_writer.ts";
import { verifyPath } from "../../pki/path.ts";
import { defaultPolicy, type TrustSnapshot } from "../../pki/trust.ts";
import { type Host, host } from "../support/child_host.ts";
import { at, forge, type Forged, forgeList, type ForgeListOptions, forgeListPem, later } from "../support/forge.ts";

const test = suite("lists that the network brings");
const folder = mkdtempSync(join(tmpdir(), "hypha-learned-"));
const hosts: Host[] = [];
test.after.each(async () => {
  await Promise.all(hosts.splice(0).map((each) => each.stop()));
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

const root = forge("root", { ca: true });
const middle = forge("middle", { ca: true, issuer: root });
const [leaf, other] = [forge("leaf", { issuer: middle }), forge("other", { issuer: middle })];
const certificate = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der));
const revoking = (...leaves: Forged[]) => ({ revoked: leaves.map((each) => certificate(each).serial) });
const delta = (base: number) => ({ add: [{ oid: "2.5.29.27", critical: true, value: integer(base) }] });
const list = (number: number, options: ForgeListOptions = {}) =>
  forgeList(middle, { number: BigInt(number), ...options });
const keyOf = (ca: Forged) => createHash("sha256").update(certificate(ca).publicKey.spki).digest("hex");
const ahead = { thisUpdate: later(1), nextUpdate: later(9) };

interface World {
  readonly crls: string;
  readonly trust: string;
  readonly marks: string;
  /** Where a list of the intermediate lies. */
  readonly file: (kind?: "delta" | "other") => string;
  readonly rootFile: string;
  /** The clock of the stores. */
  readonly clock: { now: number };
  readonly start: (options?: { readonly crls?: "required" | "optional"; readonly crlsPem?: boolean }) => Promise<Store>;
}

interface Store {
  readonly host: Host;
  readonly snapshot: () => TrustSnapshot;
  readonly judge: (who?: Forged) => string;
  /** Codes of alarms, and events about the state directory. */
  readonly said: () => readonly string[];
  readonly lacking: () => readonly string[];
}

let worlds = 0;
function world(): World {
  const own = join(folder, String(worlds++));
  mkdirSync(own);
  const [trust, crls, state] = [join(own, "trust.pem"), join(own, "crls.pem"), join(own, "state")];
  writeFileSync(trust, root.pem + middle.pem);
  const clock = { now: at.getTime() };
  const start: World["start"] = async ({ crls: requirement = "required", crlsPem = false } = {}) => {
    await Promise.all(hosts.splice(0).map((each) => each.stop()));
    const timing = { settleMs: 10, pollMs: 40, pollUnwatchedMs: 40, keepRetryMs: 50 };
    const files = { trustPem: trust, crlsPem: crlsPem ? crls : undefined, crls: requirement, stateDir: state };
    const store = host(trustStoreMachine, { ...files, policy: defaultPolicy, timing }, () => clock.now);
    hosts.push(store);
    await store.hear("trust.loaded");
    const snapshot = () =>
      store.said.findLast(({ type }) =>
        type === "trust.loaded" || type === "trust.changed"
      )!["snapshot"] as TrustSnapshot;
    const judge = (who = leaf) => {
      const outcome = verifyPath([who.der, middle.der], snapshot(), { at: new Date(clock.now) });
      return Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;
    };
    const said = () =>
      store.reports.flatMap(({ event, level, fields }) =>
        event.startsWith("state.") ? [event] : level === "error" ? [String(fields?.["code"])] : []
      );
    const lacking = () => heldCrls(snapshot()).lacking.map(({ number }) => number);
    return { host: store, snapshot, judge, said, lacking };
  };
  const of = (ca: Forged, kind?: string) =>
    join(state, "crls", "@own", `${keyOf(ca)}-all${kind === undefined ? "" : `-${kind}`}.crl`);
  const marks = join(state, "crl_marks.json");
  return { crls, trust, marks, file: (kind) => of(middle, kind), rootFile: of(root), clock, start };
}

/** As the exchange of lists does: aside, then renamed into place. */
function put(path: string, der: Uint8Array | string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.part`, der);
  renameSync(`${path}.part`, path);
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    assert.ok(performance.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function numberOf({ marks }: World): string | undefined {
  try {
    const read = JSON.parse(readFileSync(marks, "utf8")) as { marks: { key: string; number: string }[] };
    return read.marks.find(({ key }) => key === keyOf(middle))?.number;
  } catch {
    return undefined;
  }
}
const untilMarked = (place: World, number: string) => until(`no mark ${number}`, () => numberOf(place) === number);

/** A store in which list 5 revokes `leaf`, learned, and is marked. */
async function started(place: World, crls: "required" | "optional" = "required"): Promise<Store> {
  const store = await place.start({ crls });
  put(place.rootFile, forgeList(root));
  put(place.file(), list(5, revoking(leaf)));
  await until("the list is not in force", () => store.judge() === "certificate-revoked");
  await until("the root's list is not in force", () => store.judge(other) === "accepted");
  await untilMarked(place, "5");
  return store;
}

/** The same, stopped. */
async function stopped(place: World): Promise<void> {
  await started(place);
  await hosts.splice(0)[0]!.stop();
}

test("a list that is learned is in force well under a second, and marked; a newer one takes its place", async () => {
  const place = world();
  const store = await place.start();
  assert.is(store.judge(), "revocation-unknown", "lists are required");
  put(place.rootFile, forgeList(root));
  put(place.file(), list(5, revoking(leaf)));
  const before = performance.now();
  await until("it is not in force", () => store.judge() === "certificate-revoked");
  assert.ok(performance.now() - before < 700, `${performance.now() - before} ms`);
  assert.is(store.judge(other), "accepted");
  await untilMarked(place, "5");
  put(place.file(), list(6));
  await until("the newer one is not in force", () => store.judge() === "accepted");
  put(place.file("delta"), list(8, { ...delta(6), ...revoking(other) }));
  await until("the delta is not in force", () => store.judge(other) === "certificate-revoked");
  await untilMarked(place, "8");
  assert.equal(store.said(), []);
  const again = await place.start();
  assert.equal([again.judge(), again.judge(other), again.said()], ["accepted", "certificate-revoked", []]);
});

test("where lists are optional, one of the root alone, and one that is out, refuse nobody", async () => {
  const place = world();
  const store = await place.start({ crls: "optional" });
  put(place.rootFile, forgeList(root));
  await store.host.hear("trust.changed");
  assert.is(store.judge(), "accepted");
  put(place.file(), list(5, { ...revoking(leaf), nextUpdate: later(2) }));
  await until("it is not in force", () => store.judge() === "certificate-revoked");
  place.clock.now = later(9).getTime();
  assert.equal([store.judge(), store.judge(other)], ["certificate-revoked", "accepted"]);
});

// ── Faults at a start ──

type Judged = readonly [leaf: string, other: string];
const unknown: Judged = ["revocation-unknown", "revocation-unknown"];
const faults: [
  name: string,
  spoil: (place: World) => void,
  required: Judged,
  optional: Judged,
  lacking: readonly string[],
  said: readonly string[],
][] = [
  [
    "torn",
    ({ file }) => writeFileSync(file(), list(5, revoking(leaf)).subarray(0, 90)),
    unknown,
    ["accepted", "accepted"],
    ["5"],
    ["state.broken"],
  ],
  ["empty", ({ file }) => writeFileSync(file(), ""), unknown, ["accepted", "accepted"], ["5"], ["state.broken"]],
  ["missing", ({ file }) => rmSync(file()), unknown, ["accepted", "accepted"], ["5"], []],
  ["a folder", ({ file }) => (rmSync(file()), mkdirSync(file())), unknown, ["accepted", "accepted"], ["5"], [
    "state.broken",
  ]],
  [
    "below its mark",
    ({ file }) => put(file(), list(4, revoking(other))),
    ["crl-rollback", "certificate-revoked"],
    ["accepted", "certificate-revoked"],
    ["5"],
    ["crl-rollback"],
  ],
  [
    "of the mark's number with other content",
    ({ file }) => put(file(), list(5, revoking(other))),
    ["accepted", "certificate-revoked"],
    ["accepted", "certificate-revoked"],
    [],
    ["crl-equivocation"],
  ],
  [
    "dated ahead",
    ({ file }) => put(file(), list(6, { ...ahead, ...revoking(other) })),
    unknown,
    ["accepted", "accepted"],
    ["5"],
    [],
  ],
];
for (const [name, spoil, required, optional, lacking, said] of faults) {
  test(`at a start, a learned list that is ${name} ends nothing, and what is lost is asked for`, async () => {
    const place = world();
    await stopped(place);
    spoil(place);
    const store = await place.start();
    assert.equal([store.judge(), store.judge(other)], [...required]);
    assert.equal(store.lacking(), lacking);
    assert.equal(store.said(), said);
    const lax = await place.start({ crls: "optional" });
    assert.equal([lax.judge(), lax.judge(other)], [...optional], "where lists are optional");
    rmSync(place.file(), { recursive: true, force: true });
    put(place.file(), list(7));
    await until("the next one is not in force", () => lax.judge(other) === "accepted" && lax.lacking().length === 0);
  });
}

for (const [name, spoil] of [["torn", (text: string) => text.slice(0, 40)], ["empty", () => ""]] as const) {
  test(`at a start, marks that are ${name} end nothing: learned lists hold, and make them again`, async () => {
    const place = world();
    await stopped(place);
    writeFileSync(place.marks, spoil(readFileSync(place.marks, "utf8")));
    const store = await place.start();
    assert.equal([store.judge(), store.judge(other)], ["certificate-revoked", "accepted"]);
    assert.equal(store.said(), ["state.broken"]);
    await untilMarked(place, "5");
  });
}

test("a list dated ahead comes into force at its moment", async () => {
  const place = world();
  const store = await started(place);
  put(place.file(), list(6, { ...ahead, ...revoking(other) }));
  await pause(150);
  assert.equal([store.judge(), store.judge(other)], ["certificate-revoked", "accepted"]);
  place.clock.now = ahead.thisUpdate.getTime();
  await until("it is not in force", () => store.judge(other) === "certificate-revoked");
  assert.is(store.judge(), "accepted");
});

test("numbers with two contents: the file for the others is kept, and both are enforced at each start", async () => {
  const place = world();
  await stopped(place);
  put(place.file("other"), list(5, revoking(other)));
  for (const _ of [1, 2]) {
    const store = await place.start();
    assert.equal([store.judge(), store.judge(other)], ["certificate-revoked", "certificate-revoked"]);
    assert.equal(store.said(), ["crl-equivocation"]);
    await pause(100);
    assert.ok(existsSync(place.file("other")));
  }
});

// ── Faults in the running node ──

const running: [
  name: string,
  spoil: (place: World) => void,
  judged: Judged,
  said: readonly string[],
][] = [
  ["torn", ({ file }) => put(file(), list(6).subarray(0, 90)), ["certificate-revoked", "accepted"], ["state.broken"]],
  ["empty", ({ file }) => put(file(), ""), ["certificate-revoked", "accepted"], ["state.broken"]],
  ["missing", ({ file }) => rmSync(file()), ["certificate-revoked", "accepted"], []],
  ["below its mark", ({ file }) => put(file(), list(4, revoking(other))), ["certificate-revoked", "accepted"], []],
  ["of its number with other content", ({ file }) => put(file(), list(5, revoking(other))), [
    "certificate-revoked",
    "certificate-revoked",
  ], ["crl-equivocation"]],
  ["dated ahead", ({ file }) => put(file(), list(6, ahead)), ["certificate-revoked", "accepted"], []],
  ["signed by another", ({ file }) => put(file(), list(6, { signer: root })), ["certificate-revoked", "accepted"], [
    "state.broken",
  ]],
];
for (const [name, spoil, judged, said] of running) {
  test(`in the running node, a learned list that becomes ${name} takes nothing back`, async () => {
    for (const crls of ["required", "optional"] as const) {
      const place = world();
      const store = await started(place, crls);
      spoil(place);
      await pause(250);
      assert.equal([store.judge(), store.judge(other)], [...judged], crls);
      put(place.rootFile, forgeList(root, { number: 2n }));
      await until(
        "another list is not taken",
        () => heldCrls(store.snapshot()).held.some(({ key, number }) => key === keyOf(root) && number === "2"),
      );
      assert.equal([store.judge(), store.judge(other)], [...judged], `${crls}, after the next reading`);
      assert.equal(store.said(), said, "each is said once");
      put(place.file(), list(9));
      await until(
        "the next one is not in force",
        () => store.judge(other) === "accepted" && store.judge() === "accepted",
      );
      await untilMarked(place, "9");
    }
  });
}

// ── With the operator's file ──

test("what is learned is in force beside the operator's file, which may lie behind it without an alarm", async () => {
  const place = world();
  writeFileSync(place.crls, forgeListPem(root) + forgeListPem(middle, { number: 5n }));
  const store = await place.start({ crlsPem: true });
  await until("the list is not kept", () => existsSync(place.file()) && numberOf(place) === "5");
  put(place.file(), list(6, revoking(leaf)));
  await until("it is not in force", () => store.judge() === "certificate-revoked");
  await untilMarked(place, "6");
  assert.equal(store.said(), []);
  const again = await place.start({ crlsPem: true });
  assert.equal([again.judge(), again.judge(other), again.said()], ["certificate-revoked", "accepted", []]);
  assert.ok(readFileSync(place.file()).equals(list(6, revoking(leaf))), "the newer one was not overwritten");
  writeFileSync(place.crls, forgeListPem(root) + forgeListPem(middle, { number: 4n }));
  const back = await place.start({ crlsPem: true });
  assert.equal([back.judge(), back.said()], ["certificate-revoked", ["crl-rollback"]], "the file went back itself");
});

test("a learned list is in force although the operator's files are torn meanwhile: they are not read for it", async () => {
  const place = world();
  writeFileSync(place.crls, forgeListPem(root) + forgeListPem(middle, { number: 5n }));
  const store = await place.start({ crlsPem: true });
  writeFileSync(place.crls, "torn");
  writeFileSync(place.trust, "torn");
  await store.host.see("trust.broken");
  put(place.file(), list(6, revoking(leaf)));
  await until("it is not in force", () => store.judge() === "certificate-revoked");
});

test("what the store itself keeps changes no trust", async () => {
  const place = world();
  writeFileSync(place.crls, forgeListPem(root) + forgeListPem(middle, { number: 5n }));
  const store = await place.start({ crlsPem: true });
  await until("the list is not kept", () => existsSync(place.file()) && numberOf(place) === "5");
  await pause(200);
  assert.is(store.host.said.filter(({ type }) => type === "trust.changed").length, 0);
  writeFileSync(place.crls, forgeListPem(root) + forgeListPem(middle, { number: 6n }));
  await untilMarked(place, "6");
  await pause(200);
  assert.is(store.host.said.filter(({ type }) => type === "trust.changed").length, 1);
});

test("a CA that the bundle gets makes the lists of it that lay there count", async () => {
  const place = world();
  writeFileSync(place.trust, root.pem);
  const store = await place.start({ crls: "optional" });
  put(place.file(), list(5, revoking(leaf)));
  put(place.rootFile, forgeList(root));
  await until("the root's list is not in force", () => heldCrls(store.snapshot()).held.length === 1);
  assert.is(store.judge(), "accepted", "nobody could verify it");
  put(place.trust, root.pem + middle.pem);
  await until("it is not in force", () => store.judge() === "certificate-revoked");
});

test("files that are no lists of this directory are left alone", async () => {
  const place = world();
  await stopped(place);
  const strange = ["notes.txt", `${keyOf(middle)}-all.crl.part`, `${keyOf(middle)}.crl`, "x-all.crl"];
  for (const name of strange) writeFileSync(join(dirname(place.file()), name), "mine");
  const store = await place.start();
  await untilMarked(place, "5");
  assert.equal(store.said(), []);
  for (const name of strange) assert.is(readFileSync(join(dirname(place.file()), name), "utf8"), "mine");
  assert.is(statSync(place.file()).size, list(5, revoking(leaf)).length);
  assert.is(readdirSync(dirname(place.file())).length, strange.length + 2);
});

test.run();
