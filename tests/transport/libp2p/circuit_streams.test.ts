import type { Connection, PeerId, Stream } from "@libp2p/interface";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JoinsCircuits, joinWithBackPressure } from "../../../transport/libp2p/circuit_streams.ts";
import { WrittenStream } from "../../support/written_stream.ts";

const test = suite("joinWithBackPressure()");

const turn = () => new Promise((resolve) => setTimeout(resolve, 0));
const connection = (name: string, status = "open", remoteAddr = "/ip4/127.0.0.1/tcp/1") =>
  ({ name, status, remoteAddr, remotePeer: {} as PeerId }) as unknown as Connection & { readonly name: string };

/** A circuit between two streams, over one of these connections of its destination, oldest first. */
async function circuit(connections = [connection("only")]) {
  const [near, far] = [new WrittenStream(), new WrittenStream("outbound")];
  const server: JoinsCircuits & Record<string, unknown> = {
    components: { connectionManager: { getConnections: () => connections } },
    async handleConnect(hop, options) {
      const destination = await this.stopHop({ connection: connections[0]! }, options);
      const joint = hop.stream.unwrap() as unknown as { sink(): Promise<unknown> };
      assert.is(destination, joint as never, "the library is to join nothing itself");
      joint.sink().then(() => isOver = true);
    },
    stopHop(stop) {
      used = (stop.connection as { readonly name?: string }).name;
      return Promise.resolve(far.stream);
    },
  };
  let used: string | undefined;
  let isOver = false;
  joinWithBackPressure(server);
  await server.handleConnect({ stream: { unwrap: () => near.stream as Stream } }, {});
  return { near, far, used, server, isOver: () => isOver };
}

test("what arrives on one stream is sent on the other, both ways, until both have ended", async () => {
  const { near, far, isOver } = await circuit();
  near.onData(new Uint8Array(3));
  far.onData(new Uint8Array(5));
  assert.equal([far.sent, near.sent], [[3], [5]]);
  near.onRemoteCloseWrite();
  await turn();
  assert.equal([far.writeStatus, near.writeStatus, isOver()], ["closed", "writable", false]);
  far.onData(new Uint8Array(7));
  far.onRemoteCloseWrite();
  await turn();
  assert.equal([near.sent, near.status, far.status, isOver()], [[5, 7], "closed", "closed", true]);
  assert.equal([near.told, far.told], [[], []]);
});

test("a stream is paused while the other takes no more; its end does not overtake what is held", async () => {
  const { near, far } = await circuit();
  far.onMuxerNeedsDrain();
  near.onData(new Uint8Array(3));
  near.onData(new Uint8Array(5));
  near.onRemoteCloseWrite();
  await turn();
  assert.equal([near.told, near.readBufferLength, far.sent, far.writeStatus], [["pause"], 5, [], "writable"]);
  far.onMuxerDrain();
  await turn();
  assert.equal([near.told, far.sent, far.writeStatus], [["pause", "resume"], [3, 5], "closed"]);
});

test("a stream whose held bytes fill the other again is paused after its window was opened", async () => {
  const { near, far } = await circuit();
  far.onMuxerNeedsDrain();
  near.onData(new Uint8Array(3));
  near.onData(new Uint8Array(5));
  const { sendData } = far;
  far.sendData = (data) => ({ ...sendData.call(far, data), canSendMore: data.byteLength === 3 });
  far.onMuxerDrain();
  await turn();
  assert.equal(near.told, ["pause", "resume", "pause"]);
});

test("a stream that is reset, or lost before its end, resets the other", async () => {
  const ways: ((stream: WrittenStream) => void)[] = [
    (stream) => stream.onRemoteReset(),
    (stream) => stream.onTransportClosed(),
    (stream) => stream.abort(new Error("broken")),
    (stream) => {
      stream.pause();
      stream.onData(new Uint8Array(3));
      stream.onRemoteCloseWrite();
      stream.abort(new Error("broken while it held bytes"));
    },
  ];
  for (const way of ways) {
    for (const [one, other] of [["near", "far"], ["far", "near"]] as const) {
      const ends = await circuit();
      const { told } = ends[other];
      ends[other].sendCloseWrite = () => Promise.resolve(void told.push("end"));
      way(ends[one]);
      await turn();
      assert.equal([told, ends[other].status, ends.isOver()], [["reset"], "aborted", true]);
    }
  }
});

test("a circuit that cannot be answered resets the stream to its destination", async () => {
  const { server, far } = await circuit();
  const unwrap = () => {
    throw new Error("gone");
  };
  await server.handleConnect({ stream: { unwrap } }, {}).then(() => assert.unreachable(), () => {});
  assert.is(far.status, "aborted");
});

test("bug: a circuit went over the oldest connection of its destination, also where that had lost its link", async () => {
  const relayed = connection("relayed", "open", "/ip4/127.0.0.1/tcp/1/p2p/x/p2p-circuit");
  const { used } = await circuit([connection("old"), connection("new"), connection("closed", "closing"), relayed]);
  assert.is(used, "new");
});

test.run();
