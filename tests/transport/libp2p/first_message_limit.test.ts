/** How much of a relay's stream is read before it is answered. */
import type { Connection, Stream } from "@libp2p/interface";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { firstMessageMaxBytes, limitedFirstMessage } from "../../../transport/libp2p/first_message_limit.ts";

const test = suite("limitedFirstMessage()");
const hop = "/libp2p/circuit/relay/0.2.0/hop";

/** A stream whose handler answers when it is told to. */
function open(protocol: string) {
  const aborted: string[] = [];
  const sent: number[] = [];
  const stream = Object.assign(new EventTarget(), {
    send: (data: Uint8Array) => sent.push(data.byteLength) > 0,
    abort: ({ message }: Error) => void aborted.push(message),
  }) as unknown as Stream;
  let taken = 0;
  limitedFirstMessage(protocol, () => void (taken += 1))(stream, {} as Connection);
  assert.is(taken, 1);
  const arrives = (bytes: number) =>
    stream.dispatchEvent(Object.assign(new Event("message"), { data: new Uint8Array(bytes) }));
  return { stream, aborted, sent, arrives };
}

test("a stream may bring as much as a message may have, in pieces", () => {
  const { aborted, arrives } = open(hop);
  arrives(1);
  arrives(firstMessageMaxBytes - 1);
  assert.equal(aborted, []);
});

test("one byte more resets it", () => {
  const { aborted, arrives } = open(hop);
  arrives(firstMessageMaxBytes);
  arrives(1);
  assert.is(aborted.length, 1);
});

test("after the answer it carries any number of bytes", () => {
  const { stream, aborted, sent, arrives } = open(hop);
  arrives(100);
  assert.ok(stream.send(new Uint8Array(7)));
  assert.ok(stream.send(new Uint8Array(8)));
  assert.equal(sent, [7, 8]);
  arrives(10 * firstMessageMaxBytes);
  assert.equal(aborted, []);
});

test("streams of other protocols stay as they are", () => {
  const { aborted, arrives } = open("/ipfs/ping/1.0.0");
  arrives(10 * firstMessageMaxBytes);
  assert.equal(aborted, []);
});

test.run();
