import type { MessageStream } from "@libp2p/interface";
import { AbstractMessageStream, type SendResult } from "@libp2p/utils";
import { yamux } from "@libp2p/yamux";
import type { Uint8ArrayList } from "uint8arraylist";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { yamuxOf } from "../../../transport/libp2p/connection_internals.ts";
import { closeGraceMs } from "../../../transport/core/wire.ts";
import { PeerLost, pingEveryMs, pingingWithFirstStream, pingTimeoutMs } from "../../../transport/libp2p/first_ping.ts";
import { nodeMuxer, silentLogger } from "../../../transport/libp2p/node.ts";
import { until } from "../../support/transports.ts";

const test = suite("pingingWithFirstStream()");

/** A connection that notes the frames of one side, and answers its pings. */
class Frames extends AbstractMessageStream {
  readonly frames: string[] = [];
  isSilent = false;

  constructor(direction: "inbound" | "outbound" = "outbound") {
    super({ log: silentLogger.forComponent("test"), direction });
  }
  override sendData(data: Uint8ArrayList): SendResult {
    const bytes = data.subarray();
    for (let at = 0; at < bytes.length; at += 12) {
      const isPing = bytes[at + 1] === 2;
      this.frames.push(isPing ? "ping" : ["data", "window"][bytes[at + 1]!] ?? "other");
      if (isPing && !this.isSilent) {
        queueMicrotask(() => this.onData(Uint8Array.of(0, 2, 0, 2, ...bytes.slice(at + 4, at + 12))));
      }
    }
    return { sentBytes: bytes.length, canSendMore: true };
  }
  /** The peer ends its multiplexer, with a code of yamux. */
  goesAway(code: number): void {
    this.onData(Uint8Array.of(0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, code));
  }
  /** A stream of the peer. */
  opens(id: number): void {
    this.onData(Uint8Array.of(0, 1, 0, 1, 0, 0, 0, id, 0, 0, 0, 0));
  }
  override sendReset(): void {}
  override sendPause(): void {}
  override sendResume(): void {}
  override close(): Promise<void> {
    return Promise.resolve();
  }
}

function made(everyMs = pingEveryMs, timeoutMs = pingTimeoutMs) {
  const connection = new Frames();
  const factory = pingingWithFirstStream(yamux({ enableKeepAlive: false }), { everyMs, timeoutMs })({});
  const muxer = yamuxOf(factory.createStreamMuxer(connection as MessageStream));
  const end = () => connection.abort(new Error("enough"));
  const pings = () => connection.frames.filter((frame) => frame === "ping").length;
  return { connection, muxer, pings, end };
}
const aTurn = () => new Promise<void>((resolve) => setTimeout(resolve, 0));
const rttOf = (muxer: object) => (muxer as { getRTT(): number }).getRTT();

test("a connection ends whose peer does not answer a ping in time, and no other", async () => {
  const { connection, pings, end } = made(10, 60);
  const closed = new Promise<Error | undefined>((resolve) =>
    connection.addEventListener("close", ({ error }) => resolve(error), { once: true })
  );
  await until("pings", () => pings() > 8);
  assert.is(connection.status, "open");
  connection.isSilent = true;
  assert.match(`${await closed}`, "no answer to a ping for 60 ms");
  end();
});

for (const code of [0, 2]) {
  test(`bug: a connection stayed open whose peer had ended the multiplexer alone (code ${code})`, async () => {
    const connection = new Frames();
    const muxer = nodeMuxer()({ logger: silentLogger }).createStreamMuxer(connection as MessageStream);
    let ended: unknown;
    connection.addEventListener("close", ({ error }) => void (ended = error), { once: true });
    connection.goesAway(code);
    assert.is(muxer.status, "closed");
    assert.is(connection.status, "open", "an honest peer's own end may be on its way");
    await until("its end", () => connection.status !== "open");
    assert.instance(ended, PeerLost);
  });
}

test("bug: a connection stayed open whose multiplexer had ended itself, over too many streams before it was announced", async () => {
  const { connection } = made();
  for (let nth = 1; nth <= 11; nth++) connection.opens(2 * nth);
  await until("its end", () => connection.status !== "open");
});

test("a connection that ends by itself after its multiplexer is not lost", async () => {
  const { connection } = made();
  let ended: unknown = "none";
  let aborts = 0;
  connection.addEventListener("close", ({ error }) => void (ended = error), { once: true });
  connection.abort = () => void (aborts += 1);
  connection.goesAway(0);
  connection.onTransportClosed();
  await new Promise((resolve) => setTimeout(resolve, closeGraceMs + 100));
  assert.equal([ended, aborts], [undefined, 0]);
});

test("a listener pings at once, before the peer has work, and not with its first stream", async () => {
  const connection = new Frames("inbound");
  const factory = pingingWithFirstStream(yamux({ enableKeepAlive: false }))({});
  const muxer = yamuxOf(factory.createStreamMuxer(connection as MessageStream));
  await until("the round trip", () => rttOf(muxer) >= 0);
  await muxer.createStream();
  await aTurn();
  assert.equal(connection.frames, ["ping", "window"]);
  connection.abort(new Error("enough"));
});

test("a dialler's connection without a stream is not pinged", async () => {
  const { connection, end } = made();
  await aTurn();
  assert.equal(connection.frames, []);
  end();
});

test("the first stream of this side is preceded by the ping, whose answer is the round trip; the second has none", async () => {
  const { connection, muxer, end } = made();
  await muxer.createStream();
  await aTurn();
  assert.equal(connection.frames, ["ping", "window"]);
  assert.ok(rttOf(muxer) >= 0);
  await muxer.createStream();
  await aTurn();
  assert.equal(connection.frames, ["ping", "window", "window"]);
  end();
});

test("so is the first stream of the peer", async () => {
  const { connection, muxer, pings, end } = made();
  connection.opens(2);
  await until("the round trip", () => rttOf(muxer) >= 0);
  connection.opens(4);
  await muxer.createStream();
  await aTurn();
  assert.is(pings(), 1);
  end();
});

test("a ping before the first stream counts", async () => {
  const { muxer, pings, end } = made();
  assert.ok(await muxer.ping() >= 0);
  await muxer.createStream();
  await aTurn();
  assert.is(pings(), 1);
  end();
});

test("it pings at intervals, until the connection ends", async () => {
  assert.is(pingEveryMs, 30_000);
  const { pings, end } = made(10);
  await until("three pings", () => pings() >= 3);
  end();
  const last = pings();
  await new Promise((resolve) => setTimeout(resolve, 50)); // five intervals
  assert.is(pings(), last);
});

test("a dialling node's multiplexer pings with the first stream", async () => {
  const connection = new Frames();
  const muxer = nodeMuxer()({ logger: silentLogger }).createStreamMuxer(connection as MessageStream);
  await aTurn();
  assert.equal(connection.frames, []);
  await muxer.createStream();
  await aTurn();
  assert.equal(connection.frames, ["ping", "window"]);
  connection.abort(new Error("enough"));
});

test.run();
