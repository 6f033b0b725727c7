import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { NodeProcess } from "../../scripts/demo/processes.ts";
import {
  allHeld,
  closingTimes,
  type DemoFacts,
  type DemoResult,
  evaluate,
  recoveredFrom,
  roundsIn,
  summarise,
} from "../../scripts/demo/promises.ts";

const test = suite("the demo's promises");

const kept: DemoResult = {
  runtime: "node",
  nodes: 7,
  rounds: [{ round: 1, accuracy: 0.96 }],
  accuracy: 0.96,
  model: { path: "model.safetensors", sha256: "00", bytes: 1, round: 1 },
  executor: "typescript",
  recovered: [{ killed: "worker-2", rounds: 1 }],
  bytes: 1,
  accepted: 1,
  refused: {},
  revocation: { closedMs: { gateway: 1_000, scheduler: 0 } },
  joined: { seconds: 90, processorSeconds: 60 },
  seconds: 1,
};
const facts: DemoFacts = {
  way: "by-hand",
  shuffleLabels: false,
  roundsWanted: 1,
  stopped: undefined,
  revoked: { name: "worker-1", redialCode: "certificate-revoked", connectedMin: ["gateway", "scheduler"] },
  intruders: [{ name: "expired", wanted: "certificate-expired", met: "certificate-expired" }],
  exits: [{ name: "gateway", code: 0 }],
  left: [],
};
const closed = (closedMs: Record<string, number | null>) => ({ ...kept, revocation: { closedMs } });

const cases: [name: string, result: DemoResult, seen: Partial<DemoFacts>, expected: RegExp | undefined][] = [
  ["none when all are kept", kept, {}, undefined],
  ["accuracy of exactly 95 %", { ...kept, accuracy: 0.95 }, {}, undefined],
  ["accuracy just under 95 %", { ...kept, accuracy: 0.9499 }, {}, /accuracy is/],
  ["an accuracy that is no number", { ...kept, accuracy: Number.NaN }, {}, /accuracy/],
  ["a control just under 20 %", { ...kept, accuracy: 0.199 }, { shuffleLabels: true }, undefined],
  ["a control of 20 %", { ...kept, accuracy: 0.2 }, { shuffleLabels: true }, /shuffled labels is 20.0 %/],
  ["a control that is no number", { ...kept, accuracy: Number.NaN }, { shuffleLabels: true }, /shuffled labels/],
  [
    "a round too few",
    { ...kept, model: { ...kept.model!, round: 2 } },
    { roundsWanted: 2 },
    /1 rounds were finished, not 2/,
  ],
  [
    "a last round that was not evaluated",
    { ...kept, rounds: [{ round: 1, accuracy: null }] },
    {},
    /last round was not/,
  ],
  [
    "a model of an earlier round",
    { ...kept, model: { ...kept.model!, round: 0 } },
    {},
    /model is that of round 0, not 1/,
  ],
  [
    "no round after the aggregator was killed",
    { ...kept, recovered: [{ killed: "worker-2", rounds: 0 }] },
    {},
    /no round was finished after worker-2, the aggregator, had been killed/,
  ],
  ["no model", { ...kept, model: null }, {}, /model is that of round none/],
  ["a closing after 1,001 ms", closed({ gateway: 1_001, scheduler: 0 }), {}, /1001 ms/],
  ["a closing that never came", closed({ gateway: null, scheduler: 0 }), {}, /did not close/],
  ["a node that must have been connected", closed({ gateway: 1 }), {}, /scheduler has no closedMs/],
  [
    "a redial with another code",
    kept,
    { revoked: { name: "worker-1", redialCode: "hung-up", connectedMin: [] } },
    /redial met hung-up, not certificate-revoked/,
  ],
  [
    "an intruder with another code",
    kept,
    { intruders: [{ name: "expired", wanted: "certificate-expired", met: "self-signed" }] },
    /\(expired\) met self-signed/,
  ],
  ["the exit code of a revoked node, by hand", kept, { exits: [{ name: "worker-1", code: 3 }] }, /exit code 3, not 0/],
  ["an exit code of 1", kept, { exits: [{ name: "data", code: 1 }] }, /data ended with exit code 1/],
  ["no exit code", kept, { exits: [{ name: "data", code: undefined }] }, /data ended with exit code unknown/],
  ["something that is left", kept, { left: ["a work directory was left: x"] }, /was left: x/],
];
for (const [name, result, seen, expected] of cases) {
  test(`broken: ${name}`, () => {
    const { verdict, promises } = evaluate(result, { ...facts, ...seen });
    const broken = promises.flatMap((each) => each.broken);
    if (expected === undefined) {
      assert.is(verdict, allHeld);
      assert.equal(broken, []);
      assert.ok(promises.every(({ held }) => held === true));
    } else {
      assert.ok(broken.length === 1 && expected.test(broken[0] ?? ""), broken.join("; "));
      assert.is(verdict, `broken: ${broken[0]}`);
      assert.is(promises.filter(({ held }) => held === false).length, 1);
    }
  });
}

const renewal = { name: "worker-2", formerPeer: "p", at: 1, roundsAfter: 1, lost: undefined };
const withCa: DemoFacts = {
  ...facts,
  way: "ca",
  late: { readyAt: 1, doneAt: 2 },
  renewal,
  exits: [{ name: "gateway", code: 0 }, { name: "worker-1", code: 3 }],
};
const casesWithCa: typeof cases = [
  ["none when all are kept", closed({ gateway: 2_000, scheduler: 0 }), {}, undefined],
  ["a closing after 2,001 ms", closed({ gateway: 2_001, scheduler: 0 }), {}, /2001 ms, over 2000 ms/],
  ["a worker that joined too late", kept, { late: { readyAt: 2, doneAt: 2 } }, /ready after training had ended/],
  [
    "more than 60 s of processor time",
    { ...kept, joined: { seconds: 1, processorSeconds: 60.1 } },
    {},
    /took 60\.1 s of processor time/,
  ],
  ["a renewed trainer that was lost", kept, { renewal: { ...renewal, lost: "gone" } }, /lost worker-2, .*: gone/],
  ["no round after the renewal", kept, { renewal: { ...renewal, roundsAfter: 0 } }, /no round was finished after/],
  ["a revoked node that ends with 0", kept, { exits: [{ name: "worker-1", code: 0 }] }, /exit code 0, not 3/],
];
for (const [name, result, seen, expected] of casesWithCa) {
  test(`with a CA, broken: ${name}`, () => {
    const { verdict, promises } = evaluate(result, { ...withCa, ...seen });
    const broken = promises.flatMap((each) => each.broken);
    assert.is(promises.length, 13);
    if (expected === undefined) return assert.is(verdict, allHeld);
    assert.ok(broken.length === 1 && expected.test(broken[0] ?? ""), broken.join("; "));
    assert.is(promises.filter(({ held }) => held === false).length, 1);
  });
}

test("with a CA, a change that was not seen is a promise that is not held", () => {
  const unseen = [{ late: undefined }, { renewal: undefined }] as const;
  for (const each of unseen) assert.match(evaluate(kept, { ...withCa, ...each }).verdict, /^broken: not seen: a /);
  assert.match(evaluate({ ...kept, joined: null }, withCa).verdict, /^broken: not seen: from nothing/);
});

test("a demo that stops early has not kept what it did not come to", () => {
  const early = { ...kept, rounds: [], accuracy: null, recovered: [], revocation: { closedMs: {} } };
  const stopped = { way: "by-hand", shuffleLabels: false, roundsWanted: 1, stopped: "gateway ended (exit 1)" } as const;
  const { verdict, promises } = evaluate(early, stopped);
  assert.is(verdict, "broken: gateway ended (exit 1)");
  assert.equal(promises.map(({ held }) => held), [false, ...promises.slice(1).map(() => null)]);
});

test("an aggregator that was not killed is a promise that is not held", () => {
  assert.match(evaluate({ ...kept, recovered: [] }, facts).verdict, /^broken: not seen: training recovers/);
});

test("lists the rounds that were finished; one that no evaluation saw has no accuracy", () => {
  const events = [["round.finished", 1], ["round.finished", 2], ["round.evaluated", 2]]
    .map(([event = "", round]) => ({ time: "", event: String(event), round, accuracy: 0.5 }));
  assert.equal(roundsIn(events), [{ round: 1, accuracy: null }, { round: 2, accuracy: 0.5 }]);
});

test("counts the rounds that were finished after the scheduler lost the aggregator", () => {
  const events = [[10, "round.finished"], [20, "aggregator.lost"], [21, "round.evaluated"], [30, "round.finished"]]
    .map(([ms = 0, event = ""]) => ({ time: new Date(ms).toISOString(), event: String(event) }));
  const kills = [{ killed: "worker-2", lostAt: 20 }];
  assert.equal(recoveredFrom(kills, events), [{ killed: "worker-2", rounds: 1 }]);
});

test("a promise that was not looked at is not held", () => {
  const { verdict } = evaluate(kept, { ...facts, left: undefined });
  assert.match(verdict, /^broken: not seen: no process/);
});

const log = (name: string, ...events: [ms: number, event: string, peer: string][]) =>
  ({
    name,
    events: events.map(([ms, event, peer]) => ({ time: new Date(ms).toISOString(), event, peer })),
  }) as unknown as NodeProcess;

test("closing times are those of nodes that were connected when the list was written", () => {
  const nodes = [
    log("gateway", [10, "peer.established", "p"], [120, "peer.closed", "p"]),
    log("gone before", [10, "peer.established", "p"], [50, "peer.closed", "p"]),
    log("never", [10, "peer.established", "q"]),
    log("stubborn", [10, "peer.established", "p"]),
  ];
  assert.equal(closingTimes(nodes, "p", 100), { gateway: 20, stubborn: null });
});

test("sums what the nodes counted, by code", () => {
  const node = (refused: Record<string, number>) =>
    ({
      events: [{ event: "node.summary", accepted: 2, bytesSent: 10, refused }],
    }) as unknown as NodeProcess;
  assert.equal(summarise([node({ "hung-up": 1 }), node({ "hung-up": 2, "self-signed": 1 })]), {
    bytes: 20,
    accepted: 4,
    refused: { "hung-up": 3, "self-signed": 1 },
  });
});

test.run();
