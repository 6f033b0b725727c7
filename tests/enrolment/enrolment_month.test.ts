/**
 * Goal: no certificate ends, whatever the CA's absences. Method: machines of enrolment with certificates of 24 hours and one CA over
 * a simulated HTTPS port, 30 days in virtual time. The CA is away in blocks of at most six hours, a third of the time in all, and one
 * answer in twenty is lost after the CA has issued. `HYPHA_ENROLMENT_MACHINES=100` is the long form; the seed is printed.
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { setImmediate } from "node:timers";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { certsOnly } from "../../actors/ca/est_bodies.ts";
import type { AskHttps, HttpsAsk } from "../../actors/enrolment/ask_https.ts";
import { enrolmentMachine } from "../../actors/enrolment/enrolment.ts";
import { EnrolmentRefused, enrolmentRefused } from "../../actors/enrolment/enrolment_refused.ts";
import type { EnrolmentStore, HeldFiles } from "../../actors/enrolment/enrolment_store.ts";
import { randomOf } from "../../actors/runtime/random.ts";
import type { Ports, Run } from "../../actors/runtime/ports.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import { NodeClock } from "../../actors/simulation/node_clock.ts";
import { VirtualTime } from "../../actors/simulation/virtual_time.ts";
import { type Certificate, parseCertificate } from "../../pki/certificate.ts";
import { fileSigner, issueIntermediate, issueNode, issueRoot, issuerWith, signCsr } from "../../pki/issue/mod.ts";
import { formatPem, parsePem } from "../../pki/pem.ts";
import { defaultPolicy } from "../../pki/trust.ts";

const test = suite("a month of renewals");
const hourMs = 3_600_000;
const lifeMs = 24 * hourMs;
const days = 30;
const machines = Number(process.env["HYPHA_ENROLMENT_MACHINES"] ?? 6);
const seed = Number(process.env["HYPHA_ENROLMENT_SEED"] ?? 1);
const startAt = Date.UTC(2026, 0, 1);
const url = "https://ca.test";

/** Moments at which the CA leaves and comes back, in turn. */
function absences(random: () => number): readonly number[] {
  const moments: number[] = [];
  for (let at = startAt; at < startAt + (days + 2) * lifeMs;) {
    at += (0.5 + 13 * random()) * hourMs; // 7 h on average; an attempt is never more than 25 minutes away
    moments.push(at);
    at += (1 + 5 * random()) * hourMs; // 3.5 h on average
    moments.push(at);
  }
  return moments;
}

const leafOf = (pem: string): Certificate =>
  Result.getOrThrow(parseCertificate(Uint8Array.from(Result.getOrThrow(parsePem(pem))[0]!.der)));

/** A CA as its clients see it: one successor for each certificate, and the same answer for the same key. */
async function makeCa(time: VirtualTime, random: () => number) {
  const period = { notBefore: new Date(startAt - lifeMs), notAfter: new Date(startAt + 400 * lifeMs) };
  const root = await issueRoot({ commonName: "Root", ...period });
  const middle = await issueIntermediate({ commonName: "CA", issuer: root, ...period });
  const issuer = issuerWith(middle.certPem, fileSigner(middle.keyPem));
  const own = await issueNode({ issuer, commonName: "ca-01", san: ["URI:spiffe://acme.test/ca/ca-01"], ...period });
  const away = absences(random);
  const isAway = () => away.findIndex((moment) => moment > time.now) % 2 === 1;
  const dates = () => ({ notBefore: new Date(time.now - 300_000), notAfter: new Date(time.now + lifeMs) });
  const successors = new Map<string, { readonly key: string; readonly der: Uint8Array }>();
  const counts = { away: 0, lost: 0, issued: 0, again: 0, looks: 0 };

  const renew = ({ pair, body = "" }: HttpsAsk) =>
    Effect.gen(function* () {
      const former = leafOf(pair?.certPem ?? "");
      assert.ok(time.now <= +former.period.notAfter, "it asks with one that has not ended");
      const csrPem = formatPem("CERTIFICATE REQUEST", Buffer.from(body, "base64"));
      const made = yield* Effect.promise(() => signCsr({ issuer, csrPem, identity: { renews: former }, ...dates() }));
      const key = Buffer.from(Result.getOrThrow(parseCertificate(made.der)).publicKey.spki).toString("hex");
      const known = successors.get(former.fingerprint);
      if (known !== undefined && known.key !== key) {
        return yield* new EnrolmentRefused({ code: "renewal-forked", detail: "another key" });
      }
      counts[known === undefined ? "issued" : "again"] += 1;
      const der = known?.der ?? made.der;
      successors.set(former.fingerprint, { key, der });
      if (random() < 0.05) {
        counts.lost += 1;
        return yield* enrolmentRefused("ca-unreachable", "the answer was lost");
      }
      return certsOnly([der]);
    });
  const ask: AskHttps = (asked) =>
    Effect.gen(function* () {
      if (isAway()) {
        counts.away += 1;
        return yield* enrolmentRefused("ca-unreachable", "it is away");
      }
      const answered = (body: string) => ({ status: 200, headers: {}, body: Buffer.from(body) });
      if (asked.path.endsWith("/network")) {
        counts.looks += 1;
        return answered(JSON.stringify({ domain: "acme.test", gateways: [], retired_issuers: [] }));
      }
      const refusal = asked.judge([own.der, middle.der]);
      if (refusal !== undefined) return yield* refusal;
      return answered(asked.path.endsWith("/cacerts") ? certsOnly([root.der, middle.der]) : yield* renew(asked));
    });
  const first = (name: string) =>
    issueNode({ issuer, commonName: name, san: [`URI:spiffe://acme.test/worker/${name}`], ...dates() });
  const awayPart = () => {
    const spans = away.flatMap((moment, index) => index % 2 === 0 ? [(away[index + 1] ?? moment) - moment] : []);
    return spans.reduce((sum, span) => sum + span, 0) / (away[away.length - 1]! - startAt);
  };
  return { ask, first, counts, awayPart, root, middle };
}

/** Files in memory, which note how late each certificate is replaced. */
class MemoryFiles implements EnrolmentStore {
  files: HeldFiles;
  readonly margins: number[] = [];
  readonly #time: VirtualTime;

  constructor(time: VirtualTime, files: HeldFiles) {
    this.#time = time;
    this.files = files;
  }
  get notAfter(): number {
    return +leafOf(this.files.certPem!).period.notAfter;
  }
  readonly read = Effect.sync(() => this.files);
  readonly write: EnrolmentStore["write"] = (files) =>
    Effect.sync(() => {
      if (files.certPem !== undefined) this.margins.push(this.notAfter - this.#time.now);
      const keyWrittenAt = files.keyPem === undefined ? this.files.keyWrittenAt : this.#time.now;
      this.files = { ...this.files, ...files, keyWrittenAt };
    });
  readonly writeNext: EnrolmentStore["writeNext"] = (next) =>
    Effect.sync(() => void (this.files = { ...this.files, next }));
  readonly forgetNext = Effect.sync(() => void (this.files = { ...this.files, next: undefined }));
}

test(`no certificate of ${machines} machines ends in ${days} days`, async () => {
  console.log(`seed ${seed}`);
  const random = randomOf(seed, "month");
  const time = new VirtualTime(startAt);
  const ca = await makeCa(time, random.next);
  let outstanding = 0;
  const run: Run = (effect, onExit) => {
    outstanding += 1;
    const fiber = Effect.runFork(effect as Effect.Effect<never, never>);
    fiber.addObserver((exit) => {
      outstanding -= 1;
      onExit(exit as Parameters<typeof onExit>[0]);
    });
    return () => fiber.interruptUnsafe();
  };
  const errors: unknown[] = [];
  const fleet: MemoryFiles[] = [];
  const clock = new NodeClock(time).machine;
  for (let index = 0; index < machines; index++) {
    const { certPem, keyPem } = await ca.first(`worker-${index}`);
    const chain = certPem + ca.middle.certPem;
    const trustPem = ca.root.certPem + ca.middle.certPem;
    const store = new MemoryFiles(time, { certPem: chain, keyPem, trustPem, keyWrittenAt: time.now, next: undefined });
    fleet.push(store);
    const ports: Ports = {
      now: () => time.now,
      random: random.next,
      uuid: () => "",
      report: ({ event, message }) => {
        if (event === "enrolment.failed") errors.push(message);
      },
      run,
    };
    const key = index % 2 === 0 ? "same" : "new";
    superviseRoot(enrolmentMachine, {
      id: `enrolment/${index}`,
      clock: clock as NonNullable<Parameters<typeof superviseRoot>[1]["clock"]>,
      input: {
        ...{ ports, ask: ca.ask, store, role: "worker", policy: defaultPolicy },
        membership: { ca: [url], renew: true, key, newKeyEveryMs: undefined },
      },
      onError: (error) => errors.push(error),
    });
  }
  const end = startAt + days * lifeMs;
  for (;;) {
    while (outstanding > 0) await new Promise((resolve) => setImmediate(resolve));
    if (!time.step(end)) break;
  }
  const margins = fleet.flatMap((store) => store.margins);
  assert.equal(errors, []);
  assert.ok(Math.min(...margins) > 0, `replaced ${Math.min(...margins)} ms before the end`);
  assert.equal(fleet.filter(({ notAfter }) => notAfter < end), []);
  // The test proves something only where the CA was missed, answers were lost, and all machines renewed all the time.
  assert.ok(ca.awayPart() > 0.25 && ca.awayPart() < 0.4, `${ca.awayPart()}`);
  assert.ok(margins.length >= machines * days * 1.1, `${margins.length} renewals`);
  assert.ok(ca.counts.away > machines * days / 4 && ca.counts.lost > machines && ca.counts.again >= ca.counts.lost / 2);
  console.log(
    JSON.stringify({ ...ca.counts, renewals: margins.length, leastLeftMinutes: Math.min(...margins) / 60_000 }),
  );
});

test.run();
