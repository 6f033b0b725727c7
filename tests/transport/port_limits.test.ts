/**
 * Limits over both wires: streams of a peer, and offered streams that wait.
 *
 * @module
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { offeredStreamsMax } from "../../transport/core/raw_streams.ts";
import { streamsPerPeerMax } from "../../transport/core/stream_places.ts";
import { type TransportAnswer, type TransportAsk } from "../../transport/port.ts";
import { type Meeting, type Party, realMeeting, simulatedMeeting } from "../support/conformance.ts";
import { codeOf, connected, dial, established, health, left } from "../support/conformance_acts.ts";
import { makeTestPki, type TestPki } from "../support/pki.ts";

/** Asks without waiting: what was answered so far. */
function asking(party: Party, question: object): TransportAnswer[] {
  const answers: TransportAnswer[] = [];
  const replyTo = { send: (answer: TransportAnswer) => void answers.push(answer) };
  party.send({ ...question, replyTo } as TransportAsk);
  return answers;
}

async function answered(meeting: Meeting, answers: readonly (readonly TransportAnswer[])[]): Promise<string[]> {
  for (let time = 0; time < 400 && answers.some(({ length }) => length === 0); time++) await meeting.pass(25);
  return answers.map(([answer]) => answer === undefined ? "no answer" : codeOf(answer));
}

const countOf = (codes: readonly string[]) => {
  const counts: Record<string, number> = {};
  for (const code of codes) counts[code] = (counts[code] ?? 0) + 1;
  return counts;
};

for (const meetingOf of [realMeeting, simulatedMeeting]) {
  let pki: TestPki;
  const test = suite(`limits over ${meetingOf === realMeeting ? "libp2p" : "the virtual network"}`);
  test.before(async () => {
    pki = await makeTestPki();
  });

  test("requests to one peer: one too many fails, and one more is served after an answer", async () => {
    const meeting = meetingOf(pki);
    const [a, b] = await connected(meeting);
    b.send({ type: "serve", protocol: health });
    await meeting.pass(50);
    const request = (id: string) =>
      asking(a, { type: "request", id, peer: b.peer, protocol: health, message: {}, timeoutMs: 8_000 });
    const under = Array.from({ length: streamsPerPeerMax }, (_, nth) => request(`${nth}`));
    await b.fact(() => b.facts.filter(({ type }) => type === "request.received").length === streamsPerPeerMax);
    assert.equal(await answered(meeting, [request("one too many")]), ["failed"]);
    for (const fact of b.facts) {
      if (fact.type !== "request.received") continue;
      b.send({ type: "respond", exchange: fact.exchange, message: { healthy: true } });
    }
    assert.equal(countOf(await answered(meeting, under)), { response: streamsPerPeerMax });
    await meeting.pass(200);
    const next = request("after them");
    await b.fact(() => b.facts.filter(({ type }) => type === "request.received").length > streamsPerPeerMax);
    const last = b.facts.findLast(({ type }) => type === "request.received") as { readonly exchange: string };
    b.send({ type: "respond", exchange: last.exchange, message: { healthy: true } });
    assert.equal(await answered(meeting, [next]), ["response"]);
    await left(a, b);
  });

  test("offered streams: as many wait as may, of all peers together, and the next one is reset", async () => {
    const meeting = meetingOf(pki);
    const [a, b] = await connected(meeting);
    const others = await Promise.all(["c", "d", "e", "f", "g", "h", "i"].map((name) => meeting.join(name)));
    for (const other of others) {
      await dial(other, b);
      await b.fact(established(other.peer));
    }
    const pushes = ["/hypha-tensor-stream/push", "/hypha-tensor-stream/push/2"] as const;
    for (const protocol of pushes) b.send({ type: "serve", protocol });
    await meeting.pass(50);
    const open = (from: Party, protocol: string, id: string) =>
      asking(from, { type: "stream.open", id, peer: b.peer, protocol, timeoutMs: 8_000 });
    const [push, push2] = pushes;
    const senders = [a, ...others];
    assert.is(offeredStreamsMax, senders.length * streamsPerPeerMax);
    const opened = senders.flatMap((from) =>
      Array.from(
        { length: streamsPerPeerMax },
        (_, nth) => open(from, nth % 2 === 0 ? push : push2, `${from.peer} ${nth}`),
      )
    );
    assert.equal(countOf(await answered(meeting, opened)), { "stream.opened": offeredStreamsMax });
    await b.fact(() => b.facts.filter(({ type }) => type === "stream.received").length === offeredStreamsMax);
    assert.equal(await answered(meeting, [open(a, push, "of its peer too many")]), ["failed"]);
    const last = await meeting.join("j");
    await dial(last, b);
    const late = await last.ask({ type: "stream.open", id: "of all", peer: b.peer, protocol: push, timeoutMs: 8_000 });
    if (late.type !== "stream.opened") return assert.unreachable(codeOf(late));
    assert.equal(await last.run(late.stream.read), { type: "end", outcome: "broken" });
    assert.is(b.facts.filter(({ type }) => type === "stream.received").length, offeredStreamsMax);
    await left(b, last, ...senders);
  });

  test.run();
}
