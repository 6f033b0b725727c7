/** Streams of libp2p behind the port: what libp2p reports early, late or inside a call, and what comes out of it. */
import type { Connection, NewStreamOptions, Stream } from "@libp2p/interface";
import type { SendResult } from "@libp2p/utils";
import { Uint8ArrayList } from "uint8arraylist";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { StreamListener } from "../../../transport/core/wire.ts";
import { joinedAboveBytes } from "../../../transport/libp2p/joined_pieces.ts";
import { Libp2pStream, libp2pStreamsMax, pieceBytesMin } from "../../../transport/libp2p/streams.ts";
import { streamsPerPeerMax } from "../../../transport/core/stream_places.ts";
import { WrittenStream } from "../../support/written_stream.ts";

const test = suite("Libp2pStream");
const bytes = (...values: number[]) => Uint8Array.from(values);
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

/** A stream whose window is full until it is opened. */
class Narrow extends WrittenStream {
  full = false;
  override sendData(data: { byteLength: number }): SendResult {
    if (this.full) return { sentBytes: 0, canSendMore: false };
    return super.sendData(data);
  }
  /** The window opens, as yamux has it. */
  widen(): void {
    this.full = false;
    this.safeDispatchEvent("drain");
  }
}

function noting(): { readonly heard: string[]; readonly listener: StreamListener } {
  const heard: string[] = [];
  return {
    heard,
    listener: {
      opened: () => void heard.push("opened"),
      data: (piece) => void heard.push(`data ${[...piece].join(" ")}`),
      ended: () => void heard.push("ended"),
      drained: () => void heard.push("drained"),
      closed: (how) => void heard.push(`closed ${how}`),
    },
  };
}

const owner = (isOpen = true) => ({
  isOpen,
  forgotten: 0,
  forget() {
    this.forgotten += 1;
  },
});

/** A stream that a peer opened. */
function received<S extends WrittenStream>(stream: S, holder = owner()) {
  const { heard, listener } = noting();
  const wire = Libp2pStream.received(holder, stream.stream, "/x");
  wire.listen(listener);
  return { wire, heard, stream, holder };
}

/** A stream that is being opened; `agree` and `fail` play the negotiation. */
function opening(holder = owner()) {
  const { heard, listener } = noting();
  let agree: (stream: WrittenStream) => void = () => {};
  let fail: (error: Error) => void = () => {};
  let options: NewStreamOptions | undefined;
  let proposed: string | readonly string[] | undefined;
  const connection: Pick<Connection, "newStream"> = {
    newStream: (protocols, given) => {
      [proposed, options] = [protocols, given];
      return new Promise<Stream>((resolve, reject) => {
        agree = ({ stream }) => resolve(stream);
        fail = reject;
      });
    },
  };
  const wire = Libp2pStream.open(holder, connection, ["/x", "/y"], listener);
  return { wire, heard, holder, agree, fail, options: () => options, proposed: () => proposed };
}

test("both protocols are negotiated on one stream, and the stream reports the selected one", async () => {
  const { wire, agree, proposed } = opening();
  assert.equal(proposed(), ["/x", "/y"]);
  assert.is(wire.protocol, "/x");
  const stream = new WrittenStream();
  stream.protocol = "/y";
  agree(stream);
  await turn();
  assert.is(wire.protocol, "/y");
});

test("bug: pieces of one octet that waited on a paused stream each kept a whole socket buffer in memory", async () => {
  const { wire, heard, stream } = received(new WrittenStream());
  wire.pause();
  await turn();
  const bulk = new Uint8Array(16_384).fill(1);
  stream.onData(bulk);
  const { readBuffer } = stream as unknown as { readonly readBuffer: Uint8ArrayList };
  const kept = () => [...new Set([...readBuffer].map(({ buffer }) => buffer))];
  assert.is(kept()[0], bulk.buffer, "bulk is not copied");
  let mostBytes = 0;
  for (let each = 0; each < 1_000; each++) {
    stream.onData(new Uint8Array(16_384).fill(2, 0, 1).subarray(0, 1));
    mostBytes = Math.max(mostBytes, kept().reduce((sum, { byteLength }) => sum + byteLength, 0));
  }
  assert.ok(mostBytes < 2 * joinedAboveBytes, `${mostBytes}`);
  wire.resume();
  await turn();
  const said = heard.join(" ").replaceAll("data ", "");
  assert.is(said, [...Array(16_384).fill(1), ...Array(1_000).fill(2)].join(" "));
});

test("bytes, the other side's end and the close come in order, each once", async () => {
  const { wire, heard, stream, holder } = received(new WrittenStream());
  stream.onData(bytes(1));
  stream.onData(bytes(2));
  stream.onRemoteCloseWrite();
  await turn();
  assert.equal(heard, ["data 1", "data 2", "ended"]);
  wire.end(bytes(3, 4, 5));
  await turn();
  assert.equal(heard.slice(3), ["closed done"]);
  assert.equal([stream.sent, holder.forgotten], [[3], 1]);
  wire.send(bytes(1));
  wire.end();
  wire.abort("late");
  wire.pause();
  wire.resume();
  await turn();
  assert.equal([heard.length, stream.sent], [4, [3]]);
});

test("a frame that carries the end and bytes loses none of them: yamux reports its end first", async () => {
  const { heard, stream } = received(new WrittenStream());
  stream.onRemoteCloseWrite();
  stream.onData(bytes(1));
  await turn();
  assert.equal(heard, ["data 1", "ended"]);
});

test("a frame that came in long pieces is not copied; one that came in short ones is joined", () => {
  const stream = new WrittenStream();
  const arrived: Uint8Array[] = [];
  const wire = Libp2pStream.received(owner(), stream.stream, "/x");
  wire.listen({ ...noting().listener, data: (piece) => void arrived.push(piece) });
  const long = new Uint8Array(pieceBytesMin + 1).fill(1), last = new Uint8Array(pieceBytesMin - 1).fill(2);
  stream.onData(new Uint8ArrayList(long, last));
  assert.equal(arrived.map(({ buffer }) => buffer), [long.buffer, last.buffer]);
  arrived.length = 0;
  stream.onData(new Uint8ArrayList(long, last.subarray(1)));
  assert.equal(arrived.map(({ length }) => length), [2 * pieceBytesMin - 1]);
  arrived.length = 0;
  stream.onData(new Uint8ArrayList(long.subarray(0, 3)));
  assert.equal(arrived.map(({ length, buffer }) => [length, buffer]), [[3, long.buffer]]);
});

test("a reset is no end: it closes, and what was not whole is not called whole", async () => {
  const { heard, stream } = received(new WrittenStream());
  stream.onData(bytes(1));
  stream.onRemoteReset();
  assert.equal(heard, ["data 1"], "not inside the call");
  await turn();
  assert.equal(heard, ["data 1", "closed reset"]);
});

test("a reset right behind the end takes nothing away: the message was whole", async () => {
  const { heard, stream } = received(new WrittenStream());
  stream.onData(bytes(1));
  stream.onRemoteCloseWrite();
  stream.onRemoteReset();
  await turn();
  assert.equal(heard, ["data 1", "ended", "closed reset"]);
});

test("a connection that goes before the other side ended is no end either", async () => {
  const { heard, stream } = received(new WrittenStream(), owner(false));
  stream.onData(bytes(1));
  stream.onTransportClosed();
  await turn();
  assert.equal(heard, ["data 1", "closed connection"]);
});

test("an abort closes later, as a reset, and calls nothing whole that it threw away", async () => {
  const { wire, heard, stream } = received(new WrittenStream());
  wire.pause();
  stream.onData(bytes(1));
  stream.onRemoteCloseWrite();
  wire.abort("enough");
  wire.abort("again");
  assert.equal(heard, []);
  await turn();
  assert.equal([heard, stream.told], [["closed reset"], ["pause", "reset"]]);
});

test("a pause stops what comes; resuming delivers later what was kept", async () => {
  const { wire, heard, stream } = received(new WrittenStream());
  wire.pause();
  wire.pause();
  stream.onData(bytes(1));
  stream.onData(bytes(2));
  assert.equal(heard, []);
  wire.resume();
  assert.equal(heard, [], "not inside the call");
  await turn();
  assert.equal(heard, ["data 1 2"]);
  assert.equal(stream.told, ["pause", "resume"]);
});

test("a pause inside the delivery that a resume causes comes after it: the multiplexer would forget it", async () => {
  const stream = new WrittenStream();
  const { heard, listener } = noting();
  const wire = Libp2pStream.received(owner(), stream.stream, "/x");
  wire.listen({
    ...listener,
    data: (piece) => {
      listener.data(piece);
      wire.pause();
    },
  });
  wire.pause();
  stream.onData(bytes(1));
  wire.resume();
  await turn();
  assert.equal([heard, stream.told], [["data 1"], ["pause", "resume", "pause"]]);
  stream.onData(bytes(2));
  assert.equal(heard, ["data 1"]);
});

test("a stream that closes while it is paused keeps what it holds until it is resumed", async () => {
  const { wire, heard, stream } = received(new WrittenStream());
  wire.end();
  await turn();
  wire.pause();
  stream.onData(bytes(1, 2));
  stream.onRemoteCloseWrite(); // both sides have ended: libp2p closes the stream
  await turn();
  assert.equal([heard, stream.status], [[], "closed"]);
  wire.resume();
  await turn();
  assert.equal(heard, ["data 1 2", "ended", "closed done"]);
});

test("the end of the connection delivers what a paused stream holds: nothing follows", async () => {
  const { wire, heard, stream } = received(new WrittenStream());
  wire.pause();
  stream.onData(bytes(1, 2));
  stream.onRemoteCloseWrite();
  await turn();
  wire.connectionEnded("lost");
  assert.equal(heard, ["data 1 2", "ended", "closed connection"]);
  wire.connectionEnded("lost");
  await turn();
  assert.is(heard.length, 3);
});

test("a listener that pauses in that last delivery holds nothing up", () => {
  const stream = new WrittenStream();
  const { heard, listener } = noting();
  const wire = Libp2pStream.received(owner(), stream.stream, "/x");
  wire.listen({ ...listener, data: (piece) => (listener.data(piece), wire.pause()) });
  wire.pause();
  stream.onData(bytes(1));
  stream.onRemoteCloseWrite();
  wire.connectionEnded("lost");
  assert.equal(heard, ["data 1", "ended", "closed connection"]);
});

test("an abort while it waits for its reader closes it", async () => {
  const { wire, heard, stream } = received(new WrittenStream());
  wire.end();
  await turn();
  wire.pause();
  stream.onData(bytes(1));
  stream.onRemoteCloseWrite();
  await turn();
  wire.abort("enough");
  await turn();
  assert.equal(heard, ["closed reset"]);
});

test("what the negotiation read ahead comes first, then the end that came with it", async () => {
  for (const pausedAtFirst of [false, true]) {
    const stream = new WrittenStream();
    stream.onData(bytes(7)); // before a listener is there
    stream.onRemoteCloseWrite();
    const { heard, listener } = noting();
    const wire = Libp2pStream.received(owner(), stream.stream, "/x");
    if (pausedAtFirst) wire.pause();
    wire.listen(listener);
    await turn();
    if (pausedAtFirst) {
      assert.equal(heard, []);
      wire.resume();
      await turn();
    }
    assert.equal(heard, ["data 7", "ended"]);
  }
});

test("what the negotiation puts back behind an end that was reported already still comes first", async () => {
  const stream = new WrittenStream();
  const put: Uint8Array[] = [];
  const negotiate = ({ data }: { data: { subarray(): Uint8Array } }) => void put.push(data.subarray());
  stream.addEventListener("message", negotiate);
  stream.onData(bytes(7));
  stream.onRemoteCloseWrite();
  stream.removeEventListener("message", negotiate);
  stream.unshift(put[0]!);
  assert.ok(stream.readableEnded);
  const { heard, listener } = noting();
  const wire = Libp2pStream.received(owner(), stream.stream, "/x");
  wire.pause();
  wire.listen(listener);
  await turn();
  assert.equal(heard, []);
  wire.resume();
  await turn();
  assert.equal(heard, ["data 7", "ended"]);
});

test("libp2p gives up a paused stream that holds too much: that is a reset, whatever it had before", async () => {
  const { wire, heard, stream } = received(new WrittenStream());
  wire.pause();
  stream.onData(bytes(1));
  stream.onRemoteCloseWrite();
  stream.abort(new Error("too much"));
  await turn();
  assert.equal(heard, ["closed reset"]);
});

test("an abort in the turn in which the other side ended reports no end", async () => {
  const { wire, heard, stream } = received(new WrittenStream());
  stream.onRemoteCloseWrite();
  wire.abort("enough");
  await turn();
  assert.equal(heard, ["closed reset"]);
});

test("a stream whose last bytes did not leave is not done", async () => {
  const { wire, heard, stream } = received(new Narrow());
  stream.full = true;
  wire.end(bytes(1));
  stream.onRemoteCloseWrite();
  stream.onTransportClosed();
  await turn();
  assert.equal(heard, ["ended", "closed connection"]);
});

test("a stream that has closed before its listener came reports that", async () => {
  const stream = new WrittenStream();
  stream.onRemoteReset();
  const { heard } = received(stream);
  assert.equal(heard, []);
  await turn();
  assert.equal(heard, ["closed reset"]);
});

test("send says when to wait, and drained comes once everything has left, not inside a send", async () => {
  const { wire, heard, stream } = received(new Narrow());
  assert.ok(wire.send(bytes(1)));
  stream.full = true;
  assert.not(wire.send(bytes(2)));
  assert.not(wire.send(bytes(3)));
  await turn();
  assert.equal(heard, []);
  stream.safeDispatchEvent("drain"); // of the connection: this stream's window is still used up
  await turn();
  assert.equal(heard, []);
  stream.widen();
  assert.ok(wire.send(bytes(4)));
  assert.equal(heard, [], "not inside the call");
  await turn();
  assert.equal([heard, stream.sent], [["drained"], [1, 3]]);
});

test("what a writer sends and ends when it hears of the drain leaves too", async () => {
  const stream = new Narrow();
  const wire = Libp2pStream.received(owner(), stream.stream, "/x");
  const { listener } = noting();
  wire.listen({
    ...listener,
    drained: () => {
      wire.send(bytes(3));
      wire.end();
    },
  });
  stream.full = true;
  assert.is(wire.send(bytes(1, 2)), false);
  stream.widen();
  await turn();
  assert.equal([stream.sent, stream.writeBufferLength, stream.writeStatus], [[2, 1], 0, "closed"]);
});

test("an end waits for what a narrow window holds", async () => {
  const { wire, heard, stream } = received(new Narrow());
  stream.full = true;
  stream.onRemoteCloseWrite();
  wire.end(bytes(1, 2));
  await turn();
  assert.equal(heard, ["ended"]);
  stream.widen();
  await turn();
  assert.equal([heard.at(-1), stream.sent], ["closed done", [2]]);
});

test("what is sent before the protocol is agreed on waits, and leaves in order with the end", async () => {
  const { wire, heard, agree } = opening();
  assert.not(wire.send(bytes(1)));
  wire.send(bytes(1, 2));
  wire.end(bytes(1, 2, 3));
  const stream = new WrittenStream("outbound");
  agree(stream);
  await turn();
  assert.equal(stream.sent, [1, 2, 3]);
  assert.equal([heard, stream.writeStatus], [["opened", "drained"], "closed"]);
  stream.onData(bytes(9));
  stream.onRemoteCloseWrite();
  await turn();
  assert.equal(heard.slice(2), ["data 9", "ended", "closed done"]);
});

test("opened comes before bytes that were read ahead, and a pause from before holds them", async () => {
  const { wire, heard, agree } = opening();
  wire.pause();
  const stream = new WrittenStream("outbound");
  stream.onData(bytes(5));
  agree(stream);
  await turn();
  assert.equal(heard, ["opened"]);
  wire.resume();
  await turn();
  assert.equal(heard, ["opened", "data 5"]);
});

const failures: [name: string, isOpen: boolean, how: string][] = [
  ["UnsupportedProtocolError", true, "unsupported"],
  ["TooManyOutboundProtocolStreamsError", true, "too-many"],
  ["ConnectionClosedError", true, "connection"],
  ["MuxerClosedError", true, "connection"],
  ["StreamResetError", true, "reset"],
  ["StreamResetError", false, "connection"],
];
for (const [name, isOpen, how] of failures) {
  test(`a negotiation that fails with ${name} over a ${isOpen ? "open" : "lost"} connection: ${how}`, async () => {
    const { heard, fail, holder } = opening(owner(isOpen));
    fail(Object.assign(new Error("odd"), { name }));
    await turn();
    assert.equal([heard, holder.forgotten], [[`closed ${how}`], 1]);
  });
}

test("an abort gives the negotiation up, and a stream that comes all the same is reset", async () => {
  const { wire, heard, agree, options, holder } = opening();
  wire.send(bytes(1));
  wire.abort("enough");
  assert.equal([heard, options()?.signal?.aborted], [[], true]);
  const stream = new WrittenStream("outbound");
  agree(stream);
  await turn();
  assert.equal([heard, stream.told, stream.sent, holder.forgotten], [["closed reset"], ["reset"], [], 1]);
});

test("the end of the connection ends the negotiation", async () => {
  const { wire, heard, fail, options } = opening();
  wire.connectionEnded("lost");
  assert.equal([heard, options()?.signal?.aborted], [["closed connection"], true]);
  fail(new Error("late"));
  await turn();
  assert.is(heard.length, 1);
});

test("a stream that is refused is reset and reports nothing", async () => {
  const stream = new WrittenStream();
  const wire = Libp2pStream.received(owner(), stream.stream, "/x");
  wire.refuse("too-many");
  await turn();
  assert.equal(stream.told, ["reset"]);
});

test("libp2p's own limit of streams lies above the core's", () => assert.ok(libp2pStreamsMax > streamsPerPeerMax));

test.run();
