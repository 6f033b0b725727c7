import { chmod, mkdir, mkdtemp, rename, rm, symlink, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { LoadError } from "../../actors/files/load_error.ts";
import { type TrustStoreInput, trustStoreMachine } from "../../actors/trust/trust_store.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { verifyPath } from "../../pki/path.ts";
import { defaultPolicy, type TrustSnapshot } from "../../pki/trust.ts";
import { type Host, host, type Said } from "../support/child_host.ts";
import { at, forge, type Forged, forgeListPem } from "../support/forge.ts";
import { makeTestPki, type TestNode } from "../support/pki.ts";
import { until } from "../support/transports.ts";
import { unprivileged } from "../support/unprivileged.ts";

const test = suite("trustStoreMachine");
const pki = await makeTestPki();
const folder = await mkdtemp(join(tmpdir(), "hypha-trust-"));
const hosts: Host[] = [];
const monthMs = 30 * 24 * 60 * 60 * 1_000;
let folders = 0;

interface World {
  readonly dir: string;
  readonly trustPem: string;
  readonly crlsPem: string;
  readonly store: Host;
}

/** A store over files of its own. */
async function start(
  options: {
    readonly trust?: string;
    readonly crls?: string | undefined;
    readonly timing?: TrustStoreInput["timing"];
    readonly stateDir?: string;
    readonly now?: () => number;
    readonly crlsPem?: "none";
  } = {},
): Promise<World> {
  const dir = join(folder, String(folders++));
  await mkdir(dir);
  const [trustPem, crlsPem] = [join(dir, "trust.pem"), join(dir, "crls.pem")];
  if (options.trust !== "missing") await writeFile(trustPem, options.trust ?? pki.trustPem);
  if (options.crls !== undefined) await writeFile(crlsPem, options.crls);
  const store = host(trustStoreMachine, {
    trustPem,
    crlsPem: options.crlsPem === "none" ? undefined : crlsPem,
    policy: defaultPolicy,
    ...(options.timing === undefined ? {} : { timing: options.timing }),
    stateDir: options.stateDir,
  }, options.now);
  hosts.push(store);
  return { dir, trustPem, crlsPem, store };
}

const snapshotOf = (said: Said) => said["snapshot"] as TrustSnapshot;
const numbersOf = (said: Said) =>
  (snapshotOf(said).revocation?.lists ?? []).map((list) => Number((list as { number: string }).number));

/** Writes a file the way an operator should: aside, then renamed into place. */
async function replace(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text);
  await rename(`${path}.new`, path);
}

test.after.each(async () => {
  await Promise.all(hosts.splice(0).map((each) => each.stop()));
});
test.after(() => rm(folder, { recursive: true, force: true }));

test("loads both files and says so once", async () => {
  const { store } = await start({ crls: await pki.crls() });
  const loaded = await store.hear("trust.loaded");
  assert.is(snapshotOf(loaded).generation, 1);
  assert.is(snapshotOf(loaded).anchors.length, 1);
  assert.equal(numbersOf(loaded), [1, 1]);
});

test("loads the files of other trust domains, and takes up what changes in them", async () => {
  const dir = join(folder, "domains");
  await mkdir(dir);
  const [trust, crlsPem] = [join(dir, "partner.pem"), join(dir, "partner-crls.pem")];
  const [partner, other] = [
    await makeTestPki({ organization: "Partner" }),
    await makeTestPki({ organization: "Other" }),
  ];
  await writeFile(trust, partner.trustPem);
  await writeFile(crlsPem, await partner.crls());
  const trustPem = join(dir, "trust.pem");
  await writeFile(trustPem, pki.trustPem);
  const domains = [{ name: "partner.example", trust, crlsPem, roles: ["worker" as const] }];
  const store = host(trustStoreMachine, { trustPem, crlsPem: undefined, domains, policy: defaultPolicy });
  hosts.push(store);
  const { domains: [loaded] = [], anchorsId } = snapshotOf(await store.hear("trust.loaded"));
  assert.equal([loaded?.name, loaded?.roles, loaded?.revocation?.lists.length], ["partner.example", ["worker"], 2]);
  await replace(crlsPem, "nothing");
  assert.is((await store.see("trust.broken")).fields?.["file"], crlsPem);
  await replace(crlsPem, await other.crls());
  await replace(trust, other.trustPem);
  const changed = snapshotOf(await store.hear("trust.changed"));
  assert.is.not(changed.anchorsId, anchorsId);
});

test("a list that is renamed into place is in force well under a second", async () => {
  const { store, crlsPem } = await start({ crls: await pki.crls() });
  await store.hear("trust.loaded");
  for (const number of [2n, 3n, 4n]) {
    const next = await pki.crls({ number });
    const before = performance.now();
    await replace(crlsPem, next);
    const changed = await store.hear("trust.changed", Number(number) - 1);
    assert.ok(performance.now() - before < 700, `${performance.now() - before} ms`);
    assert.equal(numbersOf(changed), [Number(number), Number(number)]);
    assert.is(snapshotOf(changed).generation, Number(number));
  }
});

test("a file that is being written is read when it has stopped changing", async () => {
  const { store, crlsPem } = await start({ crls: await pki.crls(), timing: { settleMs: 150 } });
  await store.hear("trust.loaded");
  const next = await pki.crls({ number: 2n });
  const half = next.slice(0, next.indexOf("-----BEGIN", 10));
  // Whole blocks at any moment, which parse: only waiting tells that it is not the whole file.
  for (let round = 0; round < 50; round++) {
    await writeFile(crlsPem, `${half}${"# more to come\n".repeat(round)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.not(store.said.some(({ type }) => type === "trust.changed"));
  await writeFile(crlsPem, next);
  assert.equal(numbersOf(await store.hear("trust.changed")), [2, 2]);
});

test("rubbish leaves the old trust in force, is said once with its line, and the next good file is taken", async () => {
  const { store, crlsPem, trustPem } = await start({ crls: await pki.crls() });
  await store.hear("trust.loaded");
  await replace(crlsPem, "# rubbish\n-----BEGIN X509 CRL-----\nAAAA\n");
  const broken = await store.see("trust.broken");
  assert.is(broken.level, "warn");
  assert.equal([broken.fields?.["file"], broken.fields?.["line"]], [crlsPem, 2]);
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.is(store.reports.filter(({ event }) => event === "trust.broken").length, 1);
  assert.not(store.said.some(({ type }) => type === "trust.changed"));
  await replace(crlsPem, await pki.crls({ number: 2n }));
  assert.equal(numbersOf(await store.hear("trust.changed")), [2, 2]);
  await replace(trustPem, "nothing");
  assert.is((await store.see("trust.broken", 2)).fields?.["file"], trustPem);
});

test("a torn bundle holds up no revocation, and torn lists no new anchor", async () => {
  const { store, crlsPem, trustPem } = await start({ crls: await pki.crls(), timing: { pollMs: 100 } });
  await store.hear("trust.loaded");
  await replace(trustPem, pki.trustPem.slice(0, 100));
  assert.match(
    (await store.see("trust.broken")).message,
    /^Keeping trust snapshot 1 until the file is corrected: .*no END/,
  );
  await replace(crlsPem, await pki.crls({ number: 2n }));
  const revoking = await store.hear("trust.changed");
  assert.equal([snapshotOf(revoking).generation, snapshotOf(revoking).anchors.length], [2, 1]);
  assert.equal(numbersOf(revoking), [2, 2]);
  const broken = await store.see("trust.broken", 2);
  assert.ok(broken.message.startsWith(`Keeping the previous content of ${trustPem} until the file is corrected: `));
  assert.is(broken.fields?.["file"], trustPem);
  await new Promise((resolve) => setTimeout(resolve, 400));
  assert.is(
    store.said.filter(({ type }) => type === "trust.changed").length,
    1,
    "what did not change is not said again",
  );
  await replace(crlsPem, "nothing");
  await store.see("trust.broken", 4);
  await replace(trustPem, pki.trustPem + pki.intermediate.certPem);
  const anchored = await store.hear("trust.changed", 2);
  assert.equal([snapshotOf(anchored).generation, snapshotOf(anchored).anchors.length], [3, 2]);
  assert.equal(numbersOf(anchored), [2, 2]);
  await replace(crlsPem, await pki.crls({ number: 1n }));
  await store.hear("trust.changed", 3);
  const rolled = store.reports.filter(({ fields }) => fields?.["code"] === "crl-rollback");
  assert.ok(rolled.length > 0, "the list that was used in place of a torn one has been seen");
});

test("a partner's torn files hold up no revocation of our own", async () => {
  const dir = join(folder, "torn-partner");
  await mkdir(dir);
  const partner = await makeTestPki({ organization: "Torn partner" });
  const [trustPem, crlsPem] = [join(dir, "trust.pem"), join(dir, "crls.pem")];
  const [trust, partnerCrls] = [join(dir, "partner.pem"), join(dir, "partner-crls.pem")];
  const files = [
    [trustPem, pki.trustPem],
    [crlsPem, await pki.crls()],
    [trust, partner.trustPem],
    [partnerCrls, await partner.crls()],
  ] as const;
  for (const [path, text] of files) await writeFile(path, text);
  const domains = [{ name: "partner.example", trust, crlsPem: partnerCrls }];
  const store = host(trustStoreMachine, { trustPem, crlsPem, domains, policy: defaultPolicy });
  hosts.push(store);
  await store.hear("trust.loaded");
  await replace(trust, "{");
  await store.see("trust.broken");
  await unlink(partnerCrls);
  await store.see("trust.broken", 2);
  await replace(crlsPem, await pki.crls({ number: 2n }));
  const changed = await store.hear("trust.changed");
  assert.equal(numbersOf(changed), [2, 2]);
  const { domains: [kept] = [] } = snapshotOf(changed);
  assert.equal([kept?.anchors.length, kept?.revocation?.lists.length], [1, 2]);
  const named = store.reports.filter(({ event }) => event === "trust.broken").slice(-2);
  assert.equal(named.map(({ fields }) => fields?.["file"]), [trust, partnerCrls]);
});

test("bug: a partner's bundle that does not go with its lists held up the revocations of our own", async () => {
  const dir = join(folder, "namesakes");
  await mkdir(dir);
  const names = ["trust.pem", "crls.pem", "partner.pem", "partner-crls.pem"] as const;
  const [trustPem, crlsPem, trust, partnerCrls] = names.map((name) => join(dir, name)) as [
    string,
    string,
    string,
    string,
  ];
  const [home, partner, namesake] = ["home", "partner", "partner"].map((name) => forge(name, { ca: true })) as [
    Forged,
    Forged,
    Forged,
  ];
  const [leaf, theirs, taken] = [home, partner, namesake].map((issuer) => forge("node", { issuer })) as [
    Forged,
    Forged,
    Forged,
  ];
  await writeFile(trustPem, home.pem);
  await writeFile(crlsPem, forgeListPem(home));
  await writeFile(trust, partner.pem);
  await writeFile(partnerCrls, forgeListPem(partner));
  const domains = [{ name: "partner.example", trust, crlsPem: partnerCrls }];
  const store = host(trustStoreMachine, { trustPem, crlsPem, domains, policy: defaultPolicy }, () => at.getTime());
  hosts.push(store);
  await store.hear("trust.loaded");
  // The lists of the partner do not verify under a CA with the same name and another key, neither do those before.
  await replace(trust, namesake.pem);
  await store.see("trust.broken");
  const { serial } = Result.getOrThrow(parseCertificate(leaf.der));
  await replace(crlsPem, forgeListPem(home, { number: 2n, revoked: [serial] }));
  const snapshot = snapshotOf(await store.hear("trust.changed"));
  const codes = [leaf, theirs, taken].map(({ der }) => {
    const outcome = verifyPath([der], snapshot, { at });
    return Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;
  });
  assert.equal(codes.slice(0, 2), ["certificate-revoked", "accepted"]);
  assert.is.not(codes[2], "accepted", "the partner's trust stays what it was, as a whole");
});

test("a file that goes away leaves the old trust in force until it is back", async () => {
  const { store, crlsPem } = await start({ crls: await pki.crls() });
  await store.hear("trust.loaded");
  await unlink(crlsPem);
  assert.is((await store.see("trust.broken")).fields?.["problem"], "missing");
  await writeFile(crlsPem, await pki.crls({ number: 2n }));
  assert.equal(numbersOf(await store.hear("trust.changed")), [2, 2]);
});

test("an older list takes no revocation back, and holds up no other list of its file", async () => {
  const both = pki.trustPem + pki.intermediate.certPem;
  const [first, second] = [await pki.node("first"), await pki.node("second")];
  const list = (number: bigint, revoked: readonly TestNode[]) => pki.crl(pki.intermediate, { number, revoked });
  const rootList = (number: bigint) => pki.crl(pki.root, { number });
  const { store, trustPem, crlsPem } = await start({ crls: await rootList(5n) + await list(5n, [first]) });
  await store.hear("trust.loaded");
  await replace(trustPem, both);
  await store.hear("trust.changed");
  await replace(crlsPem, await rootList(4n) + await list(6n, [first, second]));
  const changed = snapshotOf(await store.hear("trust.changed", 2));
  const codes = [first, second].map(({ der }) => {
    const outcome = verifyPath([der, pki.intermediate.der], changed, { at: new Date() });
    return Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;
  });
  assert.equal(codes, ["certificate-revoked", "certificate-revoked"]);
  const alarm = await store.see("trust.warning", 2);
  assert.equal([alarm.level, alarm.fields?.["code"]], ["error", "crl-rollback"]);
  await replace(crlsPem, await rootList(5n) + await list(5n, []));
  const back = snapshotOf(await store.hear("trust.changed", 3));
  assert.ok(Result.isFailure(verifyPath([second.der, pki.intermediate.der], back, { at: new Date() })));
});

test("a new anchor changes the anchors' id, a new list does not", async () => {
  const { store, trustPem, crlsPem } = await start({ crls: await pki.crls() });
  const loaded = snapshotOf(await store.hear("trust.loaded"));
  await replace(crlsPem, await pki.crls({ number: 2n }));
  assert.is(snapshotOf(await store.hear("trust.changed")).anchorsId, loaded.anchorsId);
  await replace(trustPem, pki.trustPem + pki.intermediate.certPem);
  assert.is.not(snapshotOf(await store.hear("trust.changed", 2)).anchorsId, loaded.anchorsId);
});

test("trust.reload reads the files again, changed or not", async () => {
  const { store } = await start({ crls: await pki.crls() });
  await store.hear("trust.loaded");
  store.send({ type: "trust.reload" });
  assert.is(snapshotOf(await store.hear("trust.changed")).generation, 2);
});

test("a folder that is replaced is noticed by the slow look, and watched from then on", async () => {
  const { store, dir, crlsPem, trustPem } = await start({ crls: await pki.crls(), timing: { pollMs: 200 } });
  await store.hear("trust.loaded");
  await mkdir(`${dir}.new`);
  await writeFile(join(`${dir}.new`, "trust.pem"), pki.trustPem);
  await writeFile(join(`${dir}.new`, "crls.pem"), await pki.crls({ number: 2n }));
  await rename(dir, `${dir}.old`);
  await rename(`${dir}.new`, dir);
  assert.equal(numbersOf(await store.hear("trust.changed")), [2, 2]);
  await replace(crlsPem, await pki.crls({ number: 3n }));
  await store.hear("trust.changed", 2);
  assert.ok(trustPem.startsWith(dir));
});

test("a list behind symbolic links that are swapped is taken up", async () => {
  const { store, dir, crlsPem } = await start({ crls: await pki.crls(), timing: { pollMs: 200 } });
  await store.hear("trust.loaded");
  await writeFile(join(dir, "crls-2.pem"), await pki.crls({ number: 2n }));
  await symlink("crls-2.pem", `${crlsPem}.link`);
  await rename(`${crlsPem}.link`, crlsPem);
  assert.equal(numbersOf(await store.hear("trust.changed")), [2, 2]);
});

test("other files of the folder, however busy, change nothing and starve nothing", async () => {
  const { store, dir, crlsPem } = await start({ crls: await pki.crls() });
  await store.hear("trust.loaded");
  let busy = true;
  const noise = (async () => {
    for (let round = 0; busy; round++) {
      await writeFile(join(dir, "node.log"), `line ${round}\n`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  })();
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.not(store.said.some(({ type }) => type === "trust.changed"));
  await replace(crlsPem, await pki.crls({ number: 2n }));
  await store.hear("trust.changed", 1, 1_000);
  busy = false;
  await noise;
});

test("a list whose grace ends is announced again, and its coming end said before", async () => {
  const clock = { ms: Date.now() };
  const crls = await pki.crls({ nextUpdate: new Date(clock.ms + monthMs) });
  const { store } = await start({ crls, timing: { pollMs: 20 }, now: () => clock.ms });
  const loaded = await store.hear("trust.loaded");
  clock.ms += monthMs + 1;
  const warned = () => store.reports.filter(({ fields, level }) => level === "warn" && fields?.["code"] !== undefined);
  const standing = store.reports.filter(({ event }) => event === "trust.warning").length;
  await store.see("trust.warning", standing + 2);
  assert.equal(warned().map(({ fields }) => fields?.["code"]), ["list-overdue", "list-overdue"]);
  clock.ms += defaultPolicy.crlGraceMs;
  const changed = await store.hear("trust.changed");
  assert.is(snapshotOf(changed).generation, snapshotOf(loaded).generation + 1);
  assert.is(snapshotOf(changed).anchorsId, snapshotOf(loaded).anchorsId);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.is(store.said.filter(({ type }) => type === "trust.changed").length, 1);
});

test("bug: after a clock that was ahead was set right, no list's end was said or announced until that time", async () => {
  const from = Date.now();
  const clock = { ms: from + 12 * monthMs };
  const crls = await pki.crls({ nextUpdate: new Date(from + 3_600_000) });
  const { store } = await start({ crls, timing: { pollMs: 20 }, now: () => clock.ms });
  await store.hear("trust.loaded");
  clock.ms = from;
  await new Promise((resolve) => setTimeout(resolve, 100));
  const overdue = () => store.reports.filter(({ fields }) => fields?.["code"] === "list-overdue").length;
  const before = overdue();
  clock.ms = from + 3_700_000;
  await until("the warnings", () => overdue() === before + 2, 5_000);
  clock.ms += defaultPolicy.crlGraceMs;
  await store.hear("trust.changed");
});

test("without a revocation list it warns once and loads", async () => {
  const { store, trustPem } = await start({ crlsPem: "none" });
  await store.hear("trust.loaded");
  assert.is((await store.see("trust.warning")).fields?.["code"], "no-lists-configured");
  await replace(trustPem, pki.trustPem + pki.intermediate.certPem);
  await store.hear("trust.changed");
  assert.is(store.reports.filter(({ event }) => event === "trust.warning").length, 1);
});

const failing: [name: string, options: Parameters<typeof start>[0], problem: string, file: "trust" | "crls"][] = [
  ["a trust bundle that is missing", { trust: "missing", crlsPem: "none" }, "missing", "trust"],
  ["an empty trust bundle", { trust: "", crlsPem: "none" }, "empty", "trust"],
  [
    "a trust bundle of rubbish",
    { trust: "-----BEGIN CERTIFICATE-----\nAAAA\n", crlsPem: "none" },
    "malformed",
    "trust",
  ],
  ["a list that is missing", {}, "missing", "crls"],
  ["an empty list", { crls: "" }, "empty", "crls"],
];
for (const [name, options, problem, file] of failing) {
  test(`does not start with ${name}: names the file, the problem and what mends it`, async () => {
    const { store, trustPem, crlsPem } = await start(options);
    const error = (await store.hear("trust.failed"))["error"] as LoadError;
    assert.equal([error.problem, error.file], [problem, file === "trust" ? trustPem : crlsPem]);
    assert.match(error.message, error.file);
    assert.ok(error.mend.length > 10);
    assert.not(store.said.some(({ type }) => type === "trust.loaded"));
  });
}

test("does not start with a folder in the file's place, nor with a file it may not read", async () => {
  const dir = join(folder, "odd");
  await mkdir(join(dir, "trust.pem"), { recursive: true });
  const paths = { trustPem: join(dir, "trust.pem"), crlsPem: undefined, policy: defaultPolicy };
  const odd = host(trustStoreMachine, paths);
  hosts.push(odd);
  assert.is(((await odd.hear("trust.failed"))["error"] as LoadError).problem, "not-a-file");
  await writeFile(join(dir, "closed.pem"), pki.trustPem);
  await chmod(join(dir, "closed.pem"), 0o000);
  await chmod(folder, 0o755);
  await unprivileged(async () => {
    const closed = host(trustStoreMachine, { ...paths, trustPem: join(dir, "closed.pem") });
    hosts.push(closed);
    assert.is(((await closed.hear("trust.failed"))["error"] as LoadError).problem, "unreadable");
  });
});

test("a folder that cannot be watched is looked at quickly, and that is said", async () => {
  const dir = join(folder, "unwatched");
  await mkdir(dir);
  const trustPem = join(dir, "trust.pem");
  await writeFile(trustPem, pki.trustPem);
  const store = host(trustStoreMachine, { trustPem, crlsPem: undefined, policy: defaultPolicy });
  hosts.push(store);
  await store.hear("trust.loaded");
  store.send({ type: "files.unwatched", error: new Error("no watches left") });
  await store.see("trust.unwatched");
});

/** Takes the right to read a file away while the process may not read everything, and gives it back. */
async function whileUnreadable(path: string, work: () => Promise<void>): Promise<void> {
  await chmod(folder, 0o755);
  await unprivileged(async () => {
    await after(150); // the watchers begin as this user
    await asOwner(() => chmod(path, 0o000));
    try {
      await work();
    } finally {
      await asOwner(() => chmod(path, 0o644));
    }
  });
}

async function asOwner(work: () => Promise<void>): Promise<void> {
  const user = process.geteuid?.();
  if (user === 65_534) process.seteuid!(0);
  await work();
  if (user === 65_534) process.seteuid!(user);
}

const after = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test("bug: a file that stays unreadable was reported ten times a second", async () => {
  const { store, crlsPem } = await start({ crls: await pki.crls(), timing: { pollMs: 50 } });
  await store.hear("trust.loaded");
  await whileUnreadable(crlsPem, async () => {
    assert.is((await store.see("trust.broken")).fields?.["problem"], "unreadable");
    await after(600);
    assert.is(store.reports.filter(({ event }) => event === "trust.broken").length, 1);
    store.send({ type: "trust.reload" });
    await store.see("trust.broken", 2);
  });
});

test("bug: the end of a list's grace was not announced while a trust file was unreadable", async () => {
  const clock = { ms: Date.now() };
  const crls = await pki.crls({ nextUpdate: new Date(clock.ms + monthMs) });
  const { store, trustPem } = await start({ crls, timing: { pollMs: 20 }, now: () => clock.ms });
  await store.hear("trust.loaded");
  await whileUnreadable(trustPem, async () => {
    await store.see("trust.broken");
    clock.ms += monthMs + 1 + defaultPolicy.crlGraceMs;
    await store.hear("trust.changed");
    await store.see("trust.warning", 2);
  });
});

test.run();
