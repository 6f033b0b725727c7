import type { Connection, Stream } from "@libp2p/interface";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { StreamAnswer, TransportFact } from "../../../transport/port.ts";
import { RawStreams } from "../../../transport/core/raw_streams.ts";
import type { SessionParts } from "../../../transport/core/requests.ts";
import { WrittenStream } from "../../support/written_stream.ts";

const test = suite("RawStreams");
type Handler = (stream: Stream, connection: Connection) => void;

/** Streams of a session whose libp2p is the test. */
async function served(established = true) {
  const facts: TransportFact[] = [];
  const answers: StreamAnswer[] = [];
  const handlers: Handler[] = [];
  let exchanges = 0;
  const parts = {
    libp2p: { handle: (_: string, handler: Handler) => Promise.resolve(void handlers.push(handler)) },
    connections: { identityOf: () => established ? {} : undefined },
    outbox: {
      tell: (fact: TransportFact) => facts.push(fact),
      answer: (to: { send(answer: StreamAnswer): void }, answer: StreamAnswer) => to.send(answer),
    },
    uuid: () => `exchange ${++exchanges}`,
  };
  const streams = new RawStreams(parts as unknown as SessionParts);
  await streams.serve("/hypha-tensor-stream/push");
  const offer = () => {
    const stream = new WrittenStream();
    handlers[0]?.(stream.stream, { remotePeer: { toString: () => "peer" } } as unknown as Connection);
    return stream;
  };
  const accept = (exchange: string) =>
    streams.accept({ type: "stream.accept", exchange, replyTo: { send: (answer) => void answers.push(answer) } });
  return { streams, facts, answers, offer, accept };
}

test("stopping resets what was taken, and what still waits to be", async () => {
  const { streams, facts, answers, offer, accept } = await served();
  const [taken, waiting] = [offer(), offer()];
  assert.equal(facts.map(({ type }) => type), ["stream.received", "stream.received"]);
  accept("exchange 1");
  assert.equal(answers.map(({ type }) => type), ["stream.opened"]);
  streams.stop();
  assert.equal([taken.told, waiting.told], [["reset"], ["reset"]]);
});

test("a stream is taken once, and one that broke before not at all", async () => {
  const { streams, answers, offer, accept } = await served();
  offer();
  accept("exchange 1");
  accept("exchange 1");
  const broken = offer();
  broken.abort(new Error("gone"));
  await new Promise((resolve) => setTimeout(resolve));
  accept("exchange 2");
  assert.equal(answers.map(({ type }) => type), ["stream.opened", "stream.failed", "stream.failed"]);
  streams.stop();
});

test("a stream of a peer that is not established is reset", async () => {
  const { facts, offer } = await served(false);
  assert.equal([offer().told, facts.length], [["reset"], 0]);
});

test.run();
