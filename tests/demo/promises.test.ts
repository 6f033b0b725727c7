import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { NodeProcess } from "../../scripts/demo/processes.ts";
import { brokenPromises, closingTimes, type DemoResult, summarise } from "../../scripts/demo/promises.ts";

const test = suite("the demo's promises");

const kept: DemoResult = {
  runtime: "node",
  nodes: 7,
  rounds: [{ round: 1, accuracy: 0.96 }],
  accuracy: 0.96,
  bytes: 1,
  accepted: 1,
  refused: {},
  revocation: { closedMs: { gateway: 1_000, scheduler: 0 } },
  seconds: 1,
};
const needs = { shuffleLabels: false, connectedMin: ["gateway", "scheduler"] };

const cases: [name: string, result: DemoResult, expected: RegExp | undefined][] = [
  ["none when all are kept", kept, undefined],
  ["accuracy of exactly 95 %", { ...kept, accuracy: 0.95 }, undefined],
  ["accuracy just under 95 %", { ...kept, accuracy: 0.9499 }, /accuracy is 95.0 %, under|accuracy is/],
  ["an accuracy that is no number", { ...kept, accuracy: Number.NaN }, /accuracy/],
  ["a closing after 1,001 ms", { ...kept, revocation: { closedMs: { gateway: 1_001, scheduler: 0 } } }, /1001 ms/],
  [
    "a closing that never came",
    { ...kept, revocation: { closedMs: { gateway: null, scheduler: 0 } } },
    /did not close/,
  ],
  [
    "a node that must have been connected",
    { ...kept, revocation: { closedMs: { gateway: 1 } } },
    /scheduler has no closedMs/,
  ],
];
for (const [name, result, expected] of cases) {
  test(`broken: ${name}`, () => {
    const broken = brokenPromises(result, needs);
    if (expected === undefined) assert.equal(broken, []);
    else assert.ok(broken.length === 1 && expected.test(broken[0] ?? ""), broken.join("; "));
  });
}

test("the control breaks its promise from 20 % on", () => {
  const control = { ...needs, shuffleLabels: true };
  assert.equal(brokenPromises({ ...kept, accuracy: 0.199 }, control), []);
  assert.is(brokenPromises({ ...kept, accuracy: 0.2 }, control).length, 1);
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
