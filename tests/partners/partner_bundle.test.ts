/** The machine that keeps a partner's bundle: when it asks, and what it reports. In virtual time. */
import { Buffer } from "node:buffer";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AskHttps } from "../../actors/enrolment/ask_https.ts";
import { enrolmentRefused } from "../../actors/enrolment/enrolment_refused.ts";
import { bundlePath } from "../../actors/files/state_directory.ts";
import { fetchMinMs, partnerBundleMachine } from "../../actors/partners/partner_bundle.ts";
import type { Report } from "../../actors/runtime/ports.ts";
import { makePorts } from "../../actors/runtime/real_ports.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { markKey } from "../../pki/crl_marks.ts";
import { formatSpiffeBundle } from "../../pki/spiffe_bundle.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../pki/trust.ts";
import { makeTestPki } from "../support/pki.ts";
import { until } from "../support/transports.ts";

const test = suite("partnerBundleMachine");
const own = await makeTestPki({ organization: "Own" });
const partner = await makeTestPki({ organization: "Partner", domain: "partner.example" });
const ca = await partner.node("ca-01", { role: "ca" });
const authorities = [partner.root, partner.intermediate].map(({ der }) => Result.getOrThrow(parseCertificate(der)));
const domains = [{ name: "partner.example", trust: undefined }];
const terms = { policy: defaultPolicy, generation: 1, at: new Date(), domains };
const { snapshot } = Result.getOrThrow(makeTrustSnapshot({ trustPem: own.trustPem, ...terms }));

type Turn = "away" | { readonly sequence: number; readonly hint?: number };

/** Plays these answers, one for each request, and gives the waits between them. */
async function play(turns: readonly Turn[]) {
  const folder = mkdtempSync(join(tmpdir(), "hypha-partner-"));
  const reports: Report[] = [];
  const waits: number[] = [];
  const path = bundlePath(folder, "partner.example");
  let asked = 0;
  const ask: AskHttps = ({ judge }) =>
    Effect.suspend(() => {
      const turn = turns[asked];
      asked += 1;
      if (turn === undefined) return Effect.never;
      if (turn === "away") return enrolmentRefused("ca-unreachable", "nobody is there");
      judge(ca.chain);
      const text = formatSpiffeBundle(authorities, { sequence: turn.sequence, refreshHintSeconds: turn.hint });
      return Effect.succeed({ status: 200, headers: {}, body: Buffer.from(text) });
    });
  const ports = makePorts((report) => reports.push(report));
  const actor = superviseRoot(partnerBundleMachine, {
    id: "partner",
    input: {
      ...{ ports, ask, domain: "partner.example", url: "https://ca.partner.example/bundle.json" },
      pin: markKey(authorities[0]!),
      profile: "https_ca",
      path,
    },
    clock: {
      setTimeout: (task: () => void, ms: number) => {
        waits.push(ms);
        return setTimeout(task, 1);
      },
      clearTimeout: (timer: unknown) => clearTimeout(timer as ReturnType<typeof setTimeout>),
    } as unknown as NonNullable<Parameters<typeof superviseRoot>[1]["clock"]>,
    onError: (error) => {
      throw error;
    },
  });
  assert.is(asked, 0, "nothing is fetched before the node knows its own trust");
  actor.send({ type: "trust.changed", snapshot });
  await until("all answers", () => asked > turns.length ? true : undefined, 5_000);
  actor.stop();
  await ports.dispose();
  rmSync(folder, { recursive: true });
  const told = reports.map(({ event, level, fields }) => [event, level, fields?.["code"]]);
  return { waits, told, path, last: reports.at(-1)?.message ?? "" };
}

const within = (value: number | undefined, from: number, to: number) =>
  assert.ok(value !== undefined && value >= from && value <= to, `${value} of ${from} to ${to}`);

test("looks again after the hint, never within a minute, at the latest after a day", async () => {
  const { waits, told } = await play([
    { sequence: 1, hint: 600 },
    { sequence: 2, hint: 0 },
    { sequence: 3 },
    { sequence: 4, hint: 9_000_000 },
  ]);
  within(waits[0], 540_000, 660_000);
  assert.is(waits[1], fetchMinMs);
  within(waits[2], 270_000, 330_000);
  within(waits[3], 0.9 * 86_400_000, 1.1 * 86_400_000);
  assert.equal(told, Array(4).fill(["bundle.taken", "info", undefined]));
});

test("a server that is away is asked more and more rarely, reported once, and again when it is back", async () => {
  const one = { sequence: 1, hint: 300 };
  const { waits, told } = await play([one, ...Array<Turn>(8).fill("away"), one, "away"]);
  const failing = [...waits.slice(1, 9), waits[10]!];
  for (const wait of failing) within(wait, fetchMinMs, 15 * 60_000);
  within(failing[7], 7.5 * 60_000, 15 * 60_000);
  within(failing[8], fetchMinMs, 2 * fetchMinMs);
  assert.equal(told, [
    ["bundle.taken", "info", undefined],
    ["bundle.refused", "warn", "bundle-unreachable"],
    ["bundle.fetched", "info", undefined],
    ["bundle.refused", "warn", "bundle-unreachable"],
  ]);
});

test("a lower sequence is an alarm that names the file to remove where the partner counts from the beginning again", async () => {
  const { told, path, last } = await play([{ sequence: 2 }, { sequence: 1 }, { sequence: 1 }]);
  assert.equal(told, [["bundle.taken", "info", undefined], ["bundle.refused", "error", "bundle-rollback"]]);
  assert.ok(last.endsWith(`: rm ${path}`), last);
});

test.run();
