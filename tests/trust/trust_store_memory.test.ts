/** What the trust store remembers between two runs: marks and lists in the state directory. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { apartBytesMin } from "../../actors/files/read_crls.ts";
import { trustStoreMachine } from "../../actors/trust/trust_store.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { integer } from "../../pki/issue/der_writer.ts";
import { contradictingMax } from "../../pki/crl_union.ts";
import { verifyPath } from "../../pki/path.ts";
import { defaultPolicy, type TrustSnapshot } from "../../pki/trust.ts";
import { type Host, host } from "../support/child_host.ts";
import { at, forge, type Forged, forgeList, type ForgeListOptions, forgeListPem, later } from "../support/forge.ts";
import { unprivileged } from "../support/unprivileged.ts";

const test = suite("what the trust store remembers");
const folder = mkdtempSync(join(tmpdir(), "hypha-memory-"));
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
const rootList = forgeListPem(root);
const list = (number: number, options: ForgeListOptions = {}) =>
  forgeListPem(middle, { number: BigInt(number), ...options });
const key = createHash("sha256").update(certificate(middle).publicKey.spki).digest("hex");

interface World {
  readonly crls: string;
  readonly state: string;
  readonly marks: string;
  /** The kept file of the intermediate's lists. */
  readonly kept: (kind?: "delta" | "other") => string;
  /** Starts a store; the one before is stopped. */
  readonly start: () => Promise<Store>;
}

interface Store {
  readonly host: Host;
  readonly snapshot: () => TrustSnapshot;
  readonly judge: (who?: Forged) => string;
  /** Codes of alarms and warnings, and events about the state directory. */
  readonly said: () => readonly string[];
}

let worlds = 0;
/** Files of a store with both CAs in its bundle: every list is checked as it is read. */
function world(bundle = root.pem + middle.pem): World {
  const own = join(folder, String(worlds++));
  mkdirSync(own);
  const [trustPem, crls, state] = [join(own, "trust.pem"), join(own, "crls.pem"), join(own, "state", "node")];
  writeFileSync(trustPem, bundle);
  const start = async (): Promise<Store> => {
    await Promise.all(hosts.splice(0).map((each) => each.stop()));
    const timing = { settleMs: 10, pollMs: 30, pollUnwatchedMs: 30, keepRetryMs: 50 };
    const store = host(
      trustStoreMachine,
      { trustPem, crlsPem: crls, stateDir: state, policy: defaultPolicy, timing },
      () => at.getTime(),
    );
    hosts.push(store);
    await store.hear("trust.loaded");
    const snapshot = () =>
      store.said.findLast(({ type }) =>
        type === "trust.loaded" || type === "trust.changed"
      )!["snapshot"] as TrustSnapshot;
    const judge = (who = leaf) => {
      const outcome = verifyPath([who.der, middle.der], snapshot(), { at });
      return Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;
    };
    const said = () =>
      store.reports.flatMap(({ event, level, fields }) =>
        event.startsWith("state.") ? [event] : level === "error" ? [String(fields?.["code"])] : []
      );
    return { host: store, snapshot, judge, said };
  };
  const kept = (kind?: string) => join(state, "crls", "@own", `${key}-all${kind === undefined ? "" : `-${kind}`}.crl`);
  return { crls, state, marks: join(state, "crl_marks.json"), kept, start };
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    assert.ok(performance.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

interface MarksJson {
  readonly version: number;
  readonly marks: readonly (Record<string, unknown> & { readonly key: string; readonly number: string })[];
}
const readMarks = ({ marks }: World) => JSON.parse(readFileSync(marks, "utf8")) as MarksJson;
/** Undefined where there is no such mark, or the file is none yet. */
function markOf(at: World) {
  try {
    return readMarks(at).marks.find((mark) => mark.key === key);
  } catch {
    return undefined;
  }
}
const untilMarked = (at: World, number: string) => until(`no mark ${number}`, () => markOf(at)?.number === number);

/** Written aside, then renamed into place. */
function replace(path: string, text: string | Uint8Array): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

test("writes marks and lists after they were taken, for this user alone, and nothing where nothing changed", async () => {
  const place = world();
  const der = forgeList(middle, { number: 5n });
  writeFileSync(place.crls, rootList + list(5));
  const store = await place.start();
  await untilMarked(place, "5");
  const { version, marks } = readMarks(place);
  assert.equal([version, marks.length], [1, 2]);
  const { domain, scope, number, sha256 } = markOf(place)!;
  const hash = createHash("sha256").update(der).digest("hex");
  assert.equal([domain, scope, number, sha256], ["@own", "all", "5", { complete: hash }]);
  assert.ok(readFileSync(place.kept()).equals(der));
  const modes = [place.state, join(place.state, "crls"), join(place.state, "crls", "@own"), place.marks, place.kept()];
  assert.equal(modes.map((path) => (statSync(path).mode & 0o777).toString(8)), ["700", "700", "700", "600", "600"]);
  const inodes = () => [place.marks, place.kept()].map((path) => statSync(path).ino);
  const before = inodes();
  store.host.send({ type: "trust.reload" });
  await store.host.hear("trust.changed");
  replace(place.crls, rootList + "# the same\n" + list(5));
  await store.host.hear("trust.changed", 2);
  const again = await place.start();
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(inodes(), before);
  assert.equal([store.said(), again.said()], [[], []]);
});

test("an older list that lies there at a start changes nothing but that it is said; a newer one ends it", async () => {
  const place = world();
  writeFileSync(place.crls, rootList + list(5, revoking(leaf)));
  await place.start();
  await untilMarked(place, "5");
  writeFileSync(place.crls, rootList + list(4, revoking(other)));
  const store = await place.start();
  assert.equal([store.judge(), store.judge(other)], ["certificate-revoked", "accepted"]);
  assert.equal(store.said(), ["crl-rollback"]);
  const { message } = store.host.reports.find(({ level }) => level === "error")!;
  const line = rootList.split("\n").length;
  assert.ok(message.startsWith(`${place.crls}:${line}: the list of CN=middle has number 4, older than 5`), message);
  assert.match(message, "the node uses the newer list that it saved");
  assert.match(message, `rm -r ${place.marks}`);
  store.host.send({ type: "trust.reload" });
  await store.host.see("trust.loaded", 2);
  assert.is(store.judge(), "certificate-revoked");
  replace(place.crls, rootList + list(6));
  await until("the newer list is not taken", () => store.judge() === "accepted");
  assert.is(store.judge(), "accepted");
  await untilMarked(place, "6");
});

test("a bundle that changes is taken up though an older list lies beside it", async () => {
  const place = world(root.pem);
  writeFileSync(place.crls, forgeListPem(root, { number: 5n }));
  await place.start();
  await until("no mark", () => existsSync(place.marks));
  writeFileSync(place.crls, forgeListPem(root, { number: 4n }));
  const store = await place.start();
  replace(join(place.state, "..", "..", "trust.pem"), root.pem + middle.pem);
  await store.host.hear("trust.changed");
  assert.is(store.snapshot().anchors.length, 2);
});

test("a delta that is lost clears nobody: in the running node, at a start, and at a start without what was kept", async () => {
  const place = world();
  const [base, change] = [list(5, revoking(other)), list(7, { ...delta(5), ...revoking(leaf, other) })];
  writeFileSync(place.crls, rootList + base + change);
  const running = await place.start();
  await untilMarked(place, "7");
  await until("no delta", () => existsSync(place.kept("delta")));
  replace(place.crls, rootList + base);
  await running.host.hear("trust.changed");
  assert.equal([running.judge(), running.said()], ["certificate-revoked", ["crl-rollback"]]);
  const started = await place.start();
  assert.equal([started.judge(), started.judge(other)], ["certificate-revoked", "certificate-revoked"]);
  assert.equal(started.said(), ["crl-rollback"]);
  rmSync(join(place.state, "crls"), { recursive: true });
  const bare = await place.start();
  assert.equal([bare.judge(), bare.judge(other)], ["crl-rollback", "certificate-revoked"]);
  assert.match(bare.host.reports.find(({ level }) => level === "error")!.message, "clears no certificate");
  replace(place.crls, rootList + list(8));
  await bare.host.hear("trust.changed");
  assert.is(bare.judge(), "accepted");
  await untilMarked(place, "8");
});

test("a mark whose list is lost holds against an older list at every later reading too", async () => {
  const place = world();
  writeFileSync(place.crls, rootList + list(5, revoking(leaf)));
  await place.start();
  await untilMarked(place, "5");
  await hosts.splice(0)[0]!.stop();
  rmSync(join(place.state, "crls"), { recursive: true });
  writeFileSync(place.crls, rootList + list(4));
  const store = await place.start();
  assert.is(store.judge(), "crl-rollback");
  store.host.send({ type: "trust.reload" });
  await store.host.hear("trust.changed");
  assert.is(store.judge(), "crl-rollback");
  replace(place.crls, rootList + "# the same\n" + list(4));
  await store.host.hear("trust.changed", 2);
  assert.equal([store.judge(), markOf(place)?.number], ["crl-rollback", "5"]);
  replace(place.crls, rootList + list(6));
  await store.host.hear("trust.changed", 3);
  assert.is(store.judge(), "accepted");
});

test("the delta that a newer complete list makes needless is removed", async () => {
  const place = world();
  writeFileSync(place.crls, rootList + list(5) + list(7, delta(5)));
  await place.start();
  await until("no delta", () => existsSync(place.kept("delta")) && markOf(place)?.number === "7");
  replace(place.crls, rootList + list(8));
  await until("the delta is still there", () => !existsSync(place.kept("delta")) && markOf(place)?.number === "8");
});

test("a list of an issuer that only peers send makes its mark once a peer's path has shown it good", async () => {
  const place = world(root.pem);
  writeFileSync(place.crls, rootList + list(5, revoking(other)));
  const store = await place.start();
  await until("no marks", () => existsSync(place.marks));
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.is(markOf(place), undefined);
  assert.is(store.judge(), "accepted");
  await untilMarked(place, "5");
  writeFileSync(place.crls, rootList + list(4));
  const started = await place.start();
  assert.equal([started.judge(), started.judge(other)], ["accepted", "certificate-revoked"]);
  assert.equal(started.said(), ["crl-rollback"]);
  rmSync(place.kept());
  const bare = await place.start();
  assert.equal([bare.judge(), bare.said()], ["crl-rollback", ["crl-rollback"]]);
});

test("bug: after a restart, an older list refused peers of an issuer of whom none had connected since", async () => {
  const place = world(root.pem);
  writeFileSync(place.crls, rootList + list(5, revoking(other)));
  const store = await place.start();
  assert.is(store.judge(), "accepted");
  await untilMarked(place, "5");
  await until("nothing is kept", () => existsSync(place.kept()));
  const again = await place.start();
  replace(place.crls, rootList + list(4));
  await again.host.hear("trust.changed");
  assert.equal([again.judge(), again.judge(other)], ["accepted", "certificate-revoked"]);
  assert.equal(again.said(), ["crl-rollback"]);
});

test("bug: the same where the file had been read again before, and no peer of the issuer had connected since", async () => {
  const place = world(root.pem);
  writeFileSync(place.crls, rootList + list(5, revoking(other)));
  const store = await place.start();
  assert.is(store.judge(), "accepted");
  store.host.send({ type: "trust.reload" });
  await store.host.hear("trust.changed");
  await untilMarked(place, "5");
  replace(place.crls, rootList + list(4));
  await store.host.hear("trust.changed", 2);
  assert.equal([store.judge(), store.judge(other)], ["accepted", "certificate-revoked"]);
});

test("bug: the same where the list is large, and the kept one is not read", async () => {
  const place = world(root.pem);
  const serials = Array.from({ length: 12_000 }, (_, index) => (0x10000000 + index).toString(16));
  const der = forgeList(middle, { number: 5n, revoked: [...serials, certificate(other).serial] });
  assert.ok(der.length >= apartBytesMin);
  writeFileSync(place.crls, Buffer.concat([forgeList(root), der]));
  const store = await place.start();
  assert.is(store.judge(), "accepted");
  await untilMarked(place, "5");
  await until("nothing is kept", () => existsSync(place.kept()));
  const inode = statSync(place.kept()).ino;
  const again = await place.start();
  replace(place.crls, rootList + list(4));
  await again.host.hear("trust.changed");
  assert.equal([again.judge(), again.judge(other)], ["accepted", "certificate-revoked"]);
  assert.is(statSync(place.kept()).ino, inode, "the kept list was written again");
});

test("a number with another content is enforced beside the first, kept, and said at each start", async () => {
  const place = world();
  writeFileSync(place.crls, rootList + list(5, revoking(leaf)));
  const running = await place.start();
  await untilMarked(place, "5");
  replace(place.crls, rootList + list(5, revoking(other)));
  await running.host.hear("trust.changed");
  assert.equal([running.judge(), running.judge(other)], ["certificate-revoked", "certificate-revoked"]);
  assert.equal(running.said(), ["crl-equivocation"]);
  await until("not kept", () => existsSync(place.kept("other")));
  for (const given of [list(5, revoking(other)), list(5, revoking(leaf)), list(5)]) {
    writeFileSync(place.crls, rootList + given);
    const started = await place.start();
    assert.equal([started.judge(), started.judge(other)], ["certificate-revoked", "certificate-revoked"]);
    assert.equal(started.said(), ["crl-equivocation"]);
  }
});

const spoils: [name: string, spoil: (place: World) => void, said: readonly string[]][] = [
  ["torn", ({ marks }) => writeFileSync(marks, readFileSync(marks).subarray(0, 40)), ["state.broken"]],
  ["empty", ({ marks }) => writeFileSync(marks, ""), ["state.broken"]],
  ["missing", ({ marks }) => rmSync(marks), ["state.broken"]],
  ["of another version", ({ marks }) => writeFileSync(marks, '{"version": 2, "marks": []}'), ["state.broken"]],
  ["a folder", ({ marks }) => (rmSync(marks), mkdirSync(marks)), ["state.broken"]],
];
for (const [name, spoil, said] of spoils) {
  test(`a file of marks that is ${name} ends no start: the kept lists still hold against an older one`, async () => {
    const place = world();
    writeFileSync(place.crls, rootList + list(5, revoking(leaf)));
    await place.start();
    await untilMarked(place, "5");
    await hosts.splice(0)[0]!.stop();
    spoil(place);
    writeFileSync(place.crls, rootList + list(4));
    const store = await place.start();
    assert.is(store.judge(), "certificate-revoked");
    await untilMarked(place, "5");
    assert.equal([...store.said()].sort(), ["crl-rollback", ...said].sort());
  });
}

test("one entry that is no mark takes none of the others with it", async () => {
  const place = world();
  writeFileSync(place.crls, rootList + list(5));
  await place.start();
  await untilMarked(place, "5");
  await hosts.splice(0)[0]!.stop();
  rmSync(join(place.state, "crls"), { recursive: true });
  const { version, marks } = readMarks(place);
  writeFileSync(place.marks, JSON.stringify({ version, marks: [{ ...marks[0], number: "-1" }, markOf(place)] }));
  writeFileSync(place.crls, rootList + list(4));
  const store = await place.start();
  assert.is(store.judge(), "crl-rollback");
  assert.ok(store.said().includes("state.broken"));
});

const kepts: [name: string, content: (der: Uint8Array) => Uint8Array | string][] = [
  ["torn", (der) => der.subarray(0, der.length - 20)],
  ["empty", () => ""],
  ["a list that somebody else signed", () => forgeList(middle, { number: 5n, signer: root })],
];
for (const [name, content] of kepts) {
  test(`a kept list that is ${name} ends no start, is removed, and written again`, async () => {
    const place = world();
    writeFileSync(place.crls, rootList + list(5, revoking(leaf)));
    await place.start();
    await untilMarked(place, "5");
    await hosts.splice(0)[0]!.stop();
    const der = new Uint8Array(readFileSync(place.kept()));
    writeFileSync(place.kept(), content(der));
    const store = await place.start();
    assert.equal(store.said(), ["state.broken"]);
    await until("not written again", () => existsSync(place.kept()) && readFileSync(place.kept()).equals(der));
  });
}

test("a state directory that cannot be written is said once, and the node starts and goes on", async () => {
  const place = world();
  writeFileSync(place.crls, rootList + list(5));
  writeFileSync(join(place.state, ".."), "a file in its place");
  const store = await place.start();
  assert.is(store.judge(), "accepted");
  replace(place.crls, rootList + list(4));
  await store.host.hear("trust.changed");
  replace(place.crls, rootList + list(6));
  await store.host.hear("trust.changed", 2);
  await new Promise((resolve) => setTimeout(resolve, 100));
  const unwritable = store.host.reports.filter(({ event }) => event === "state.unwritable");
  assert.is(unwritable.length, 1);
  assert.match(unwritable[0]!.message, `${place.state}: a part of its path is not a folder.`);
  assert.is(unwritable[0]!.level, "warn");
});

test("a list that cannot be kept keeps no mark from the disk, and is written once it can be", async () => {
  const place = world();
  mkdirSync(place.kept(), { recursive: true });
  writeFileSync(place.crls, rootList + list(5, revoking(leaf)));
  const store = await place.start();
  await untilMarked(place, "5");
  await store.host.see("state.unwritable");
  rmSync(place.kept(), { recursive: true });
  await until("not written again", () => existsSync(place.kept()));
  assert.is(store.host.reports.filter(({ event }) => event === "state.unwritable").length, 1);
});

test("a number that a CA gives again and again keeps no more than some of its lists, the newest", async () => {
  const place = world();
  const dated = (day: number, ...leaves: Forged[]) => list(5, { ...revoking(...leaves), thisUpdate: later(day - 30) });
  writeFileSync(place.crls, rootList + dated(0, other));
  const store = await place.start();
  for (let day = 1; day <= contradictingMax + 4; day++) {
    replace(place.crls, rootList + dated(day, ...(day === 2 ? [] : [leaf])));
    await store.host.hear("trust.changed", day);
  }
  const lists = store.snapshot().revocation?.lists ?? [];
  assert.ok(lists.length <= contradictingMax + 2, `${lists.length} lists`);
  replace(place.crls, rootList + dated(1));
  await store.host.hear("trust.changed", contradictingMax + 5);
  assert.is(store.judge(), "certificate-revoked", "an old list displaces no newer one");
});

test("a directory that this user may read and not write holds against an older list, and that is said", async () => {
  const place = world();
  writeFileSync(place.crls, rootList + list(5, revoking(leaf)));
  await place.start();
  await untilMarked(place, "5");
  await hosts.splice(0)[0]!.stop();
  for (
    const path of [
      folder,
      join(place.state, ".."),
      place.state,
      join(place.state, "crls"),
      join(place.state, "crls", "@own"),
    ]
  ) {
    chmodSync(path, 0o555);
  }
  for (const path of [place.marks, place.kept(), ...rootKept(place)]) chmodSync(path, 0o444);
  writeFileSync(place.crls, rootList + list(4));
  await unprivileged(async () => {
    const store = await place.start();
    assert.equal([store.judge(), store.said()], ["certificate-revoked", ["crl-rollback"]]);
    await store.host.stop();
  });
  chmodSync(folder, 0o755);
});
const rootKept = ({ state }: World) =>
  readdirSync(join(state, "crls", "@own")).map((name) => join(state, "crls", "@own", name));

test("a directory that others may write is said", async () => {
  const place = world();
  mkdirSync(place.state, { recursive: true });
  chmodSync(place.state, 0o777);
  writeFileSync(place.crls, rootList + list(5));
  const store = await place.start();
  assert.equal(store.said(), ["state.open"]);
});

test("marks never go back, though another process that knows less writes them too", async () => {
  const place = world();
  writeFileSync(place.crls, rootList + list(5));
  const store = await place.start();
  await untilMarked(place, "5");
  const ahead = readFileSync(place.marks, "utf8").replace('"number": "5"', '"number": "9"');
  writeFileSync(place.marks, ahead);
  replace(place.crls, rootList + list(6));
  await store.host.hear("trust.changed");
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.is(markOf(place)?.number, "9");
  assert.ok(readFileSync(place.kept()).equals(forgeList(middle, { number: 5n })), "nothing below the mark is kept");
});

test("a link in the place of a file that the thread writes aside leads nowhere", async () => {
  const place = world();
  const serials = Array.from({ length: 12_000 }, (_, index) => (0x10000000 + index).toString(16));
  writeFileSync(place.crls, Buffer.concat([forgeList(root), forgeList(middle, { number: 5n, revoked: serials })]));
  const precious = join(place.state, "..", "precious");
  mkdirSync(join(place.state, "crls", "@own"), { recursive: true });
  writeFileSync(precious, "precious");
  symlinkSync(precious, join(place.state, "crls", "@own", `.${key}-all.crl.${process.pid}.tmp`));
  await place.start();
  await untilMarked(place, "5");
  assert.is(readFileSync(precious, "utf8"), "precious");
  assert.ok(lstatSync(place.kept()).isFile());
});

test("a large list is kept by the thread that reads it, and is not read twice at the next start", async () => {
  const place = world();
  const serials = Array.from({ length: 12_000 }, (_, index) => (0x10000000 + index).toString(16));
  const many = { revoked: [...serials, certificate(leaf).serial] };
  const der = forgeList(middle, { number: 5n, ...many });
  assert.ok(der.length >= apartBytesMin);
  writeFileSync(place.crls, Buffer.concat([forgeList(root), der]));
  await place.start();
  await untilMarked(place, "5");
  assert.ok(readFileSync(place.kept()).equals(der));
  assert.is((statSync(place.kept()).mode & 0o777).toString(8), "600");
  const inode = statSync(place.kept()).ino;
  const same = await place.start();
  assert.is(same.judge(), "certificate-revoked");
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.is(statSync(place.kept()).ino, inode);
  writeFileSync(place.crls, rootList + list(4));
  const older = await place.start();
  assert.equal([older.judge(), older.said()], ["certificate-revoked", ["crl-rollback"]]);
});

test.run();
