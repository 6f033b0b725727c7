/** Enrolment and renewal at a real CA: files in, files out, whatever gets lost on the way. */
import {
  mkdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { revoke } from "../../actors/ca/revoke.ts";
import type { AskHttps } from "../../actors/enrolment/ask_https.ts";
import { askHttps } from "../../actors/enrolment/ask_https.ts";
import type { EnrolmentCommand } from "../../actors/enrolment/enrolment.ts";
import { EnrolmentRefused, enrolmentRefused } from "../../actors/enrolment/enrolment_refused.ts";
import { nextKeyPath } from "../../actors/enrolment/enrolment_store.ts";
import type { Role } from "../../pki/certificate.ts";
import { keyMatches, parsePrivateKey } from "../../pki/key.ts";
import { formatPem } from "../../pki/pem.ts";
import type { Report } from "../../actors/runtime/ports.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import { testCaPort } from "../support/ca_port.ts";
import { makeTestPki } from "../support/pki.ts";
import { EnrollingNode, losing, reaches, SkippingClock } from "../support/enrolment_world.ts";

const test = suite("enrolmentMachine");
const world = await testCaPort();
const { ca, url } = world;
const nodes: EnrollingNode[] = [];
let count = 0;

test.after.each(() => {
  for (const node of nodes.splice(0)) {
    node.close();
    assert.equal(node.errors, []);
  }
});
test.after(() => world.stop());

const node = () => {
  const made = new EnrollingNode();
  nodes.push(made);
  return made;
};
const freshToken = () => world.token(`worker-${++count}`);

/** A node that has its first certificate. */
async function joined() {
  const made = node();
  await reaches(made.start([url], { token: await freshToken(), membership: { renew: false } }), "resting");
  made.stop();
  return made;
}

const keyOf = ({ paths }: EnrollingNode) => readFileSync(paths.keyPem, "utf8");
const isPair = (made: EnrollingNode) => keyMatches(made.leaf!, Result.getOrThrow(parsePrivateKey(keyOf(made))));
/** The clock of a node whose certificate is due. */
const late = (made: EnrollingNode, part = 0.9) => {
  const { notBefore, notAfter } = made.leaf!.period;
  return +notBefore + (+notAfter - +notBefore) * part;
};

test("a token becomes certificate, key and trust: the key 0600, root and intermediate, and nothing left over", async () => {
  const made = await joined();
  assert.is(made.leaf?.subject.text, `CN=worker-${count}`);
  assert.ok(isPair(made));
  assert.is(statSync(made.paths.keyPem).mode & 0o777, 0o600);
  assert.equal(made.certificates(made.paths.trustPem).map(({ subject }) => subject.text).toSorted(), [
    "CN=CA",
    "CN=Root",
  ]);
  assert.equal(made.certificates(made.paths.certPem).length, 2);
  assert.throws(() => statSync(nextKeyPath(made.paths.stateDir)));
});

test("a lost answer loses nothing: the same token, with the key that is on disk, gets the same certificate", async () => {
  const [made, token] = [node(), await freshToken()];
  await reaches(made.start([url], { token, ask: losing((path) => path.endsWith("simpleenroll")) }), "failed");
  assert.is(made.leaf, undefined);
  const kept = readFileSync(nextKeyPath(made.paths.stateDir), "utf8");
  assert.is(statSync(nextKeyPath(made.paths.stateDir)).mode & 0o777, 0o600);
  made.stop();
  await reaches(made.start([url], { token, membership: { renew: false } }), "resting");
  assert.ok(kept.includes(JSON.stringify(keyOf(made)).slice(1, -1)));
  assert.equal(world.alarms, []);
});

test("an approval is waited for, with the same token and key", async () => {
  const [made, token] = [node(), await freshToken()];
  const bodies: (string | undefined)[] = [];
  const ask: AskHttps = (asked) => {
    if (!asked.path.endsWith("simpleenroll")) return askHttps(asked);
    bodies.push(asked.body);
    if (bodies.length > 2) return askHttps(asked);
    return Effect.succeed({ status: 202, headers: { "retry-after": "1" }, body: new Uint8Array() });
  };
  const actor = made.start([url], { token, ask, membership: { renew: false } });
  await reaches(actor, "pending");
  assert.is(actor.getSnapshot().context.waitMs, 1_000);
  await reaches(actor, "resting");
  assert.is(new Set(bodies.map((body) => body?.slice(0, 80))).size, 1, "one key");
  assert.equal(made.reports.filter(({ event }) => event === "enrolment.pending").length, 2);
});

test("a certificate that is due is renewed with the same key; the key's file stays as it is", async () => {
  const made = await joined();
  const [before, written] = [made.leaf!, statSync(made.paths.keyPem).mtimeMs];
  const now = late(made);
  const actor = made.start([url], { now: () => made.leaf?.serial === before.serial ? now : Date.now() });
  await until(() => made.leaf!.serial !== before.serial && actor.getSnapshot().matches("resting"));
  assert.equal(made.leaf!.publicKey.spki, before.publicKey.spki);
  assert.equal(made.leaf!.subjectAltNames, before.subjectAltNames);
  assert.is(statSync(made.paths.keyPem).mtimeMs, written);
});

for (const file of ["certPem", "keyPem"] as const) {
  test(`bug: a node whose ${file} is indented, as YAML does, died when it asked its CA`, async () => {
    const made = await joined();
    const before = made.leaf!;
    const path = made.paths[file];
    writeFileSync(path, readFileSync(path, "utf8").replaceAll(/\n(?=.)/g, "\n    "));
    const now = late(made);
    const actor = made.start([url], { now: () => made.leaf?.serial === before.serial ? now : Date.now() });
    await until(() => made.leaf!.serial !== before.serial && actor.getSnapshot().matches("resting"));
    assert.equal(made.leaf!.publicKey.spki, before.publicKey.spki);
    assert.ok(isPair(made));
  });
}

test("an operator renews before it is due, also where nothing renews by itself; a CA that is away is tried again", async () => {
  const made = await joined();
  const before = made.leaf!;
  const actor = made.start([url], { membership: { renew: false } });
  await reaches(actor, "resting");
  assert.ok(actor.getSnapshot().can({ type: "pair.renew" }));
  actor.send({ type: "pair.renew" });
  assert.not(actor.getSnapshot().can({ type: "pair.renew" }), "it is renewing already");
  await until(() => made.leaf!.serial !== before.serial && actor.getSnapshot().matches("resting"));
  assert.equal(made.leaf!.publicKey.spki, before.publicKey.spki);
  made.stop();
  const away = made.start(["https://127.0.0.1:1"], {});
  await reaches(away, "resting");
  away.send({ type: "pair.renew" });
  await reaches(away, "waiting");
  assert.is(away.getSnapshot().context.error?.code, "ca-unreachable");
  away.send({ type: "pair.renew" });
  await until(() => away.getSnapshot().matches("waiting") && away.getSnapshot().context.failures === 2);
});

/** A node that trusts its root alone, so that each renewal writes the bundle. */
async function joinedWithRoot() {
  const made = await joined();
  const [root] = made.certificates(made.paths.trustPem).filter(({ subject }) => subject.text === "CN=Root");
  writeFileSync(made.paths.trustPem, formatPem("CERTIFICATE", root!.der));
  return made;
}

for (const when of ["before the request", "during the request"] as const) {
  test(`bug: a renewal wrote trust_pem over what an operator had put there ${when}`, async () => {
    const made = await joinedWithRoot();
    const before = made.leaf!;
    const { root: { certPem } } = await makeTestPki({ organization: "partner" });
    let hasEdited = false;
    const edit = () => {
      if (!hasEdited) writeFileSync(made.paths.trustPem, readFileSync(made.paths.trustPem, "utf8") + certPem);
      hasEdited = true;
    };
    const ask: AskHttps = (asked) => {
      if (asked.path.endsWith("simplereenroll")) edit();
      return askHttps(asked);
    };
    const actor = made.start([url], { ask });
    await reaches(actor, "resting");
    if (when === "before the request") edit();
    actor.send({ type: "pair.renew" });
    await until(() => made.leaf!.serial !== before.serial && actor.getSnapshot().matches("resting"));
    const names = made.certificates(made.paths.trustPem).map(({ subject }) => subject.text);
    assert.is(names.length, 3);
    assert.equal(names.filter((name) => name.includes("partner")).length, 1, names.join());
    assert.equal(world.alarms, [], "no fork");
  });
}

for (const when of ["before the request", "during the request"] as const) {
  test(`bug: a renewal tore the pair that an operator had put there ${when}`, async () => {
    const [made, other] = [await joined(), await joined()];
    const put = () => {
      for (const file of ["certPem", "keyPem"] as const) {
        writeFileSync(made.paths[file], readFileSync(other.paths[file]));
      }
    };
    let asks = 0;
    const ask: AskHttps = (asked) => {
      if (asked.path.endsWith("simplereenroll") && asks++ === 0 && when === "during the request") put();
      return askHttps(asked);
    };
    const actor = made.start([url], { ask });
    await reaches(actor, "resting");
    if (when === "before the request") put();
    actor.send({ type: "pair.renew" });
    await until(() =>
      made.leaf!.serial !== other.leaf!.serial && isPair(made) && actor.getSnapshot().matches("resting")
    );
    assert.is(made.leaf!.subject.text, other.leaf!.subject.text, "the pair of the operator was renewed");
    assert.equal(world.alarms, [], "no fork");
  });
}

test("bug: a pair that came late, and is not in force, was never renewed", async () => {
  const [made, other] = [node(), await joined()];
  const before = other.leaf!;
  const now = late(other);
  const { clock } = new SkippingClock();
  const isOld = () => made.leaf === undefined || made.leaf.serial === before.serial;
  const actor = made.start([url], { clock, now: () => isOld() ? now : Date.now() });
  await reaches(actor, "absent");
  await new Promise((resolve) => setTimeout(resolve, 100));
  for (const file of ["trustPem", "keyPem", "certPem"] as const) {
    writeFileSync(made.paths[file], readFileSync(other.paths[file]));
  }
  await until(() => !isOld());
  assert.is(made.reports.filter(({ event }) => event === "enrolment.absent").length, 1);
});

test("bug: an operator's renewal was forgotten while the CA was away, where nothing renews by itself", async () => {
  const made = await joined();
  const before = made.leaf!;
  const { clock } = new SkippingClock();
  let isAway = true;
  let asks = 0;
  const ask: AskHttps = (asked) => {
    asks += 1;
    return isAway ? enrolmentRefused("ca-unreachable", "in a test") : askHttps(asked);
  };
  const actor = made.start([url], { clock, ask, membership: { renew: false } });
  await reaches(actor, "resting");
  actor.send({ type: "pair.renew" });
  await until(() => asks >= 3);
  isAway = false;
  await until(() => made.leaf!.serial !== before.serial && actor.getSnapshot().matches("resting"));
  const asked = asks;
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.is(asks, asked, "once");
});

test("an operator's renewal after a refusal asks the CA again", async () => {
  const made = await joined();
  await Effect.runPromise(revoke(ca, { name: `worker-${count}` }, "unspecified", new Date()));
  const actor = made.start([url], {});
  await reaches(actor, "resting");
  for (const reports of [1, 2]) {
    actor.send({ type: "pair.renew" });
    await until(() => made.reports.filter(({ event }) => event === "enrolment.failed").length === reports);
    await reaches(actor, "failed");
  }
  const empty = node();
  const absent = empty.start([url], { membership: { renew: false } });
  await reaches(absent, "absent");
  assert.not(absent.getSnapshot().can({ type: "pair.renew" }), "there is nothing to renew");
});

test("with another key where that is configured, and a lost answer is asked for again with that key", async () => {
  const made = await joined();
  const before = made.leaf!;
  const now = late(made);
  const first = made.start([url], {
    membership: { key: "new" },
    now: () => now,
    ask: losing((path) => path.endsWith("simplereenroll")),
  });
  await reaches(first, "waiting");
  const kept = readFileSync(nextKeyPath(made.paths.stateDir), "utf8");
  assert.is(made.leaf!.serial, before.serial);
  made.stop();
  const actor = made.start([url], {
    membership: { key: "same" },
    now: () => made.leaf?.serial === before.serial ? now : Date.now(),
  });
  await until(() => made.leaf!.serial !== before.serial && actor.getSnapshot().matches("resting"));
  assert.not.equal(made.leaf!.publicKey.spki, before.publicKey.spki);
  assert.ok(isPair(made));
  assert.ok(kept.includes(JSON.stringify(keyOf(made)).slice(1, -1)));
  assert.equal(world.alarms, [], "no fork");
});

test("a key that has grown old is replaced once the role is idle", async () => {
  const made = await joined();
  const before = made.leaf!;
  let isIdle = false;
  const old = statSync(made.paths.keyPem).mtimeMs + 3_600_000;
  const now = () => made.leaf?.serial === before.serial ? old : Date.now();
  const options = { membership: { newKeyEveryMs: 3_600_000 }, now, isIdle: () => isIdle };
  const busy = made.start([url], options);
  await reaches(busy, "resting");
  made.stop();
  isIdle = true;
  made.start([url], options);
  await until(() => made.leaf!.serial !== before.serial);
  await until(() => isPair(made));
  assert.not.equal(made.leaf!.publicKey.spki, before.publicKey.spki);
});

test("a process that ended between two renames finds its key again", async () => {
  const made = await joined();
  const key = keyOf(made);
  const keyPem = await joined().then(keyOf);
  writeFileSync(made.paths.keyPem, keyPem);
  assert.not(isPair(made));
  const kept = { version: 1, purpose: "renewal x", key_pem: key };
  writeFileSync(nextKeyPath(made.paths.stateDir), JSON.stringify(kept), { mode: 0o600 });
  await reaches(made.start([url], { membership: { renew: false } }), "resting");
  assert.ok(isPair(made));
  assert.throws(() => statSync(nextKeyPath(made.paths.stateDir)));
});

test("a key that is destroyed right after its certificate came is found again: what holds it is kept until the pair is whole", async () => {
  const made = node();
  const other = await joined().then(keyOf);
  let key = "";
  const onReport = ({ event }: Report) => {
    if (event !== "enrolment.installed" || key !== "") return;
    key = keyOf(made);
    writeFileSync(made.paths.keyPem, other);
  };
  const actor = made.start([url], { token: await freshToken(), membership: { renew: false }, onReport });
  await reaches(actor, "resting");
  assert.ok(key !== other && keyOf(made) === key);
  assert.throws(() => statSync(nextKeyPath(made.paths.stateDir)));
});

test("a join whose pair is in place is over: its token is not used again, also where the files go later", async () => {
  const [made, token] = [node(), await freshToken()];
  let next = "";
  const onReport = ({ event }: Report) => {
    if (event === "enrolment.installed") next = readFileSync(nextKeyPath(made.paths.stateDir), "utf8");
  };
  await reaches(made.start([url], { token, membership: { renew: false }, onReport }), "resting");
  made.stop();
  // The process ended before it removed this file.
  writeFileSync(nextKeyPath(made.paths.stateDir), next, { mode: 0o600 });
  const asked: string[] = [];
  const ask: AskHttps = (each) => {
    asked.push(each.path);
    return askHttps(each);
  };
  const actor = made.start([url], { token, ask, membership: { renew: false } });
  await reaches(actor, "resting");
  for (const file of ["certPem", "keyPem"] as const) rmSync(made.paths[file]);
  actor.send({ type: "pair.changed" });
  await reaches(actor, "absent");
  assert.equal(asked, []);
});

test("one that has ended is renewed late", async () => {
  const made = await joined();
  const before = made.leaf!;
  const now = +before.period.notAfter + 3_600_000;
  const actor = made.start([url], { now: () => made.leaf?.serial === before.serial ? now : Date.now() });
  await reaches(actor, "waiting");
  // The CA's clock is the real one, in which the certificate is good: what it gives has not begun to live a month ahead.
  assert.match(actor.getSnapshot().context.error?.code ?? "", /own-certificate-refused|ca-not-trusted/);
  assert.is(made.leaf!.serial, before.serial, "what its own trust refuses is not installed");
});

/** A node with a certificate of ten minutes. The next one lives longer. */
async function joinedBriefly() {
  const terms = ca as { lifetimeMs: (role: Role) => number };
  const { lifetimeMs } = terms;
  terms.lifetimeMs = () => 600_000;
  const made = await joined();
  terms.lifetimeMs = lifetimeMs;
  return made;
}

const nextLook: EnrolmentCommand = { type: "pair.unchanged" };
const pause = (ms = 100) => new Promise((resolve) => setTimeout(resolve, ms));

for (const to of ["the end", "the renewal"] as const) {
  test(`bug: a node that slept over ${to} of its certificate renewed up to half an hour after it woke`, async () => {
    const made = await joinedBriefly();
    const before = made.leaf!;
    let [aheadMs, asks] = [0, 0];
    const ask: AskHttps = (asked) => {
      asks += 1;
      return askHttps(asked);
    };
    const actor = made.start([url], { ask, now: () => Date.now() + aheadMs });
    await reaches(actor, "resting");
    actor.send(nextLook);
    await pause();
    assert.is(asks, 0, "it is not due");
    const { renewAt } = actor.getSnapshot().context;
    aheadMs = (to === "the end" ? +before.period.notAfter : renewAt) + 1_000 - Date.now();
    actor.send(nextLook);
    await until(() => made.leaf!.serial !== before.serial && actor.getSnapshot().matches("resting"));
    const asked = asks;
    actor.send(nextLook);
    await pause();
    assert.is(asks, asked, "the next one is not due");
  });
}

test("bug: a node that slept over the end of its certificate while it waited for its CA waited on after it woke", async () => {
  const made = await joinedBriefly();
  const before = made.leaf!;
  let [aheadMs, asks, isAway] = [late(made) - Date.now(), 0, true];
  const ask: AskHttps = (asked) => {
    asks += 1;
    const refusal = { code: "ca-unreachable", detail: "in a test", retryAfterMs: 3_600_000 };
    return isAway ? Effect.fail(new EnrolmentRefused(refusal)) : askHttps(asked);
  };
  const actor = made.start([url], { ask, now: () => Date.now() + aheadMs });
  await reaches(actor, "waiting");
  actor.send(nextLook);
  await pause();
  assert.is(asks, 1, "its wait is not over");
  aheadMs += 3_600_000;
  for (const _ of Array.from({ length: 5 })) {
    actor.send(nextLook);
    await pause();
  }
  assert.is(asks, 2, "it asks once, and waits again where its CA is away");
  isAway = false;
  aheadMs += 3_600_000;
  actor.send(nextLook);
  await until(() => made.leaf!.serial !== before.serial && actor.getSnapshot().matches("resting"));
});

test("a refusal for good ends the attempts and says which command helps; other files begin anew", async () => {
  const made = await joined();
  await Effect.runPromise(revoke(ca, { name: `worker-${count}` }, "unspecified", new Date()));
  const now = late(made);
  const actor = made.start([url], { now: () => now });
  await reaches(actor, "failed");
  const [line] = made.reports.filter(({ event }) => event === "enrolment.failed");
  assert.match(line?.message ?? "", /certificate-revoked.*hypha-ca token/);
  const other = await joined();
  for (const file of ["certPem", "keyPem"] as const) writeFileSync(made.paths[file], readFileSync(other.paths[file]));
  const before = made.leaf!;
  actor.send({ type: "pair.changed" });
  await until(() => made.leaf!.serial !== before.serial);
});

test("without a pair and a token it waits for files", async () => {
  const made = node();
  const actor = made.start([url], { membership: { renew: false } });
  await reaches(actor, "absent");
  assert.equal(made.reports.map(({ event }) => event), ["enrolment.absent"]);
  const other = await joined();
  for (const file of ["certPem", "keyPem", "trustPem"] as const) {
    writeFileSync(made.paths[file], readFileSync(other.paths[file]));
  }
  actor.send({ type: "pair.changed" });
  await reaches(actor, "resting");
});

test("a CA that is away is tried again, the next one of the list at once", async () => {
  const made = await joined();
  const before = made.leaf!;
  const now = late(made);
  const clock = () => made.leaf?.serial === before.serial ? now : Date.now();
  const away = made.start(["https://127.0.0.1:1"], { now: clock });
  await reaches(away, "waiting");
  const { waitMs, error } = away.getSnapshot().context;
  assert.is(error?.code, "ca-unreachable");
  assert.ok(waitMs >= 10_000 && waitMs <= 12_500, `${waitMs}`);
  made.stop();
  made.start(["https://127.0.0.1:1", url], { now: clock });
  await until(() => made.leaf!.serial !== before.serial);
});

test("bug: a CA that was busy and sent a long Retry-After let a node wait past the end of its certificate", async () => {
  const made = await joined();
  const before = made.leaf!;
  const endsAt = +before.period.notAfter;
  const skipping = new SkippingClock();
  const now = () => endsAt - 20 * 60_000 + skipping.skippedMs;
  const asks: number[] = [];
  const busy = { status: 503, headers: { "retry-after": "3600" }, body: new Uint8Array() };
  const ask: AskHttps = (asked) => {
    if (!asked.path.endsWith("/simplereenroll")) return askHttps(asked);
    asks.push(now());
    return asks.length === 1 ? Effect.succeed(busy) : askHttps(asked);
  };
  made.start([url], {
    clock: skipping.clock,
    ask,
    now: () => made.leaf?.serial === before.serial ? now() : Date.now(),
  });
  await until(() => asks.length > 1);
  assert.ok(asks[1]! < endsAt, `${asks[1]! - endsAt} ms after its end`);
  await until(() => made.leaf!.serial !== before.serial);
});

test("a certificate of a retired issuer is renewed within the hour, one of another issuer is left alone", async () => {
  const made = await joined();
  const before = made.leaf!;
  const terms = ca as { retiredIssuers: readonly string[] };
  const looked = new SkippingClock();
  let looks = 0;
  const ask: AskHttps = (asked) => {
    looks += asked.path.endsWith("/network") ? 1 : 0;
    return askHttps(asked);
  };
  terms.retiredIssuers = ["0".repeat(64)];
  made.start([url], { ...looked, ask, now: looked.now });
  await until(() => looks > 5);
  made.stop();
  assert.is(made.leaf!.serial, before.serial);
  terms.retiredIssuers = [ca.issuerId];
  const hurried = new SkippingClock();
  // When it asks: once it has the certificate, the clock skips its next wait too.
  let askedAfterMs: number | undefined;
  const note: AskHttps = (asked) => {
    if (asked.path.endsWith("/simplereenroll")) askedAfterMs ??= hurried.skippedMs;
    return askHttps(asked);
  };
  made.start([url], { ...hurried, ask: note, now: hurried.now });
  await until(() => made.leaf!.serial !== before.serial);
  made.stop();
  terms.retiredIssuers = [];
  assert.ok(askedAfterMs !== undefined && askedAfterMs > 60_000 && askedAfterMs <= 3_600_000, `${askedAfterMs} ms`);
});

test("a node that requires lists and has none asks no CA: it could not tell a revoked one", async () => {
  const made = await joined();
  const before = made.leaf!;
  const [root] = made.certificates(made.paths.trustPem).filter(({ subject }) => subject.text === "CN=Root");
  writeFileSync(made.paths.trustPem, formatPem("CERTIFICATE", root!.der));
  const now = late(made);
  const actor = made.start([url], { now: () => now });
  actor.send({ type: "trust.changed", snapshot: { revocation: { lists: [] } } as unknown as TrustSnapshot });
  await reaches(actor, "waiting");
  assert.is(actor.getSnapshot().context.error?.code, "lists-missing", "lists are required, and there is none");
  assert.is(made.leaf!.serial, before.serial);
});

for (const file of ["certPem", "keyPem"] as const) {
  test(`bug: one failed read of the file of ${file} ended renewal: the node waited for other files`, async () => {
    const made = await joined();
    const before = made.leaf!;
    const now = late(made);
    let isAway = true;
    const ask: AskHttps = (asked) => isAway ? enrolmentRefused("ca-unreachable", "in a test") : askHttps(asked);
    const actor = made.start([url], { ask, now: () => isAway ? now : Date.now() });
    await reaches(actor, "waiting");
    const path = made.paths[file];
    renameSync(path, `${path}.away`);
    mkdirSync(path);
    actor.send({ type: "pair.renew" });
    await until(() => actor.getSnapshot().matches("waiting") && actor.getSnapshot().context.failures === 2);
    assert.is(actor.getSnapshot().context.error?.code, "files-unreadable");
    assert.is(actor.getSnapshot().context.pair?.leaf.serial, before.serial);
    // A machine that starts meanwhile has no pair, and waits too.
    const started = made.start([url], { ask, now: () => now });
    await reaches(started, "waiting");
    assert.is(started.getSnapshot().context.error?.code, "files-unreadable");
    started.stop();
    rmdirSync(path);
    renameSync(`${path}.away`, path);
    isAway = false;
    actor.send({ type: "pair.renew" });
    await until(() => made.leaf!.serial !== before.serial && actor.getSnapshot().matches("resting"));
    assert.ok(isPair(made));
  });
}

test("bug: one failed read of the key of a request let the node ask for another key: a fork", async () => {
  const made = await joined();
  const before = made.leaf!;
  const now = late(made);
  let isLost = true;
  const ask = losing((path) => isLost && path.endsWith("simplereenroll"));
  const actor = made.start([url], {
    ...{ ask, membership: { key: "new" } },
    now: () => made.leaf?.serial === before.serial ? now : Date.now(),
  });
  await reaches(actor, "waiting");
  isLost = false;
  const path = nextKeyPath(made.paths.stateDir);
  renameSync(path, `${path}.away`);
  symlinkSync(path, path);
  actor.send({ type: "pair.renew" });
  await until(() => actor.getSnapshot().matches("waiting") && actor.getSnapshot().context.failures === 2);
  unlinkSync(path);
  renameSync(`${path}.away`, path);
  actor.send({ type: "pair.renew" });
  await until(() => made.leaf!.serial !== before.serial && actor.getSnapshot().matches("resting"));
  assert.equal(world.alarms, [], "no fork");
});

test("files that cannot be written are a failure that is tried again", async () => {
  const made = await joined();
  const now = late(made);
  rmSync(made.paths.trustPem);
  const actor = made.start([url], { now: () => now });
  await reaches(actor, "waiting");
  assert.is(actor.getSnapshot().context.error?.code, "own-certificate-refused", "no trust, no CA to believe");
});

async function until(isTrue: () => boolean, timeoutMs = 10_000): Promise<void> {
  const ends = performance.now() + timeoutMs;
  while (!isTrue()) {
    if (performance.now() > ends) throw new Error("it did not happen in time");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test.run();
