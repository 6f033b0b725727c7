/**
 * A verified libp2p node without the transport's manners: sends whatever bytes a test wants on any protocol.
 *
 * @module
 */
import type { Connection, IdentifyResult, Stream } from "@libp2p/interface";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { identify } from "@libp2p/identify";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";
import { makeGateFactory } from "../../actors/gate/gate.ts";
import { makeMtlsSecurity } from "../../transport/libp2p/mtls_security.ts";
import { libp2pKey } from "../../transport/libp2p/key.ts";
import { whileAwake } from "./awake.ts";
import type { TestPki } from "./pki.ts";
import { identityOf, patientHandshakeMs, snapshotOf } from "./transports.ts";

/** What came back on a stream, and how it ended. */
export interface Answer {
  readonly bytes: number;
  readonly outcome: "whole" | "broken";
}

/** A running raw peer, connected to one address. */
export interface RawPeer {
  readonly peer: string;
  readonly connection: Connection;
  /** Sends bytes, half-closes, and reads what comes back. */
  exchange(protocol: string, bytes: Uint8Array): Promise<Answer>;
  /** Sends bytes and half-closes nothing; what came back first. */
  converse(protocol: string, bytes: Uint8Array): Promise<Uint8Array>;
  /** Opens streams that each send so many bytes and never end; how many of them the other side reset. */
  hoard(protocol: string, streams: number, bytes: number): Promise<number>;
  /** Sends a byte now and then and never ends; how many were taken when the other side gave it up. */
  trickle(protocol: string, everyMs: number): Promise<{ readonly sent: number; readonly ms: number }>;
  /** What the peer told in identify. */
  readonly identified: Promise<IdentifyResult>;
  /** Answers every request of a protocol with these bytes, or never. */
  serve(protocol: string, answer: Uint8Array | "never"): Promise<void>;
  /** Opens one more connection to the same address. */
  again(): Promise<Connection>;
  stop(): Promise<void>;
}

/** Starts a raw peer. This is also how the encrypter stands in somebody else's libp2p application. */
export async function rawPeer(pki: TestPki, name: string, address: string): Promise<RawPeer> {
  const identity = identityOf(await pki.node(name));
  const snapshot = snapshotOf(pki);
  const makeGate = makeGateFactory({ ports: { now: Date.now, report: () => {} } });
  const security = makeMtlsSecurity({
    identity: () => identity,
    snapshot,
    makeGate,
    deadlineMs: patientHandshakeMs,
    now: Date.now,
  });
  const libp2p = await createLibp2p({
    start: false,
    privateKey: await libp2pKey(identity),
    transports: [tcp()],
    connectionEncrypters: [security.encrypter],
    streamMuxers: [yamux()],
    connectionGater: { ...security.gater, denyDialMultiaddr: () => false },
    services: { identify: identify() },
  });
  const identified = new Promise<IdentifyResult>((resolve) =>
    libp2p.addEventListener("peer:identify", ({ detail }) => resolve(detail))
  );
  await libp2p.start();
  const connection = await libp2p.dial(multiaddr(address));
  return {
    peer: identity.peer,
    connection,
    identified,
    exchange: async (protocol, bytes) => {
      const stream = await connection.newStream(protocol);
      const came = { bytes: 0, outcome: "broken" as "whole" | "broken" };
      const ended = new Promise<void>((resolve) => {
        stream.addEventListener("message", ({ data }) => came.bytes += data.byteLength);
        stream.addEventListener("remoteCloseWrite", () => {
          came.outcome = "whole";
          resolve();
        });
        stream.addEventListener("close", () => resolve());
      });
      try {
        for (let at = 0; at < bytes.byteLength && stream.status === "open"; at += 65_536) {
          if (!stream.send(bytes.subarray(at, at + 65_536))) await stream.onDrain();
        }
        await stream.close();
      } catch {
        // reset by the other side, which is what the outcome tells
      }
      await ended;
      return came;
    },
    converse: async (protocol, bytes) => {
      const stream = await connection.newStream(protocol);
      const first = new Promise<Uint8Array>((resolve, reject) => {
        stream.addEventListener("message", ({ data }) => resolve(data.subarray()));
        stream.addEventListener("close", () => reject(new Error("closed without an answer")));
      });
      stream.send(bytes);
      const answer = await first;
      stream.abort(new Error("read enough"));
      return answer;
    },
    hoard: async (protocol, streams, bytes) => {
      const opened: Stream[] = [];
      for (let n = 0; n < streams; n++) {
        const stream = await connection.newStream(protocol, { maxOutboundStreams: streams });
        stream.send(new Uint8Array(bytes));
        opened.push(stream);
      }
      const isReset = () => opened.filter(({ status }) => status !== "open").length;
      // Resets come one after the other: it is over when half a second of the process's time brings no further one.
      await whileAwake(20_000, () => isReset() > 0);
      for (let before = -1; before < isReset();) {
        before = isReset();
        await whileAwake(500);
      }
      const reset = isReset();
      for (const stream of opened) stream.abort(new Error("enough"));
      return reset;
    },
    trickle: async (protocol, everyMs) => {
      const start = performance.now();
      const stream = await connection.newStream(protocol);
      let sent = 0;
      const timer = setInterval(() => {
        if (stream.status !== "open") return;
        stream.send(Uint8Array.of(0xbf)); // one more indefinite map inside the last
        sent += 1;
      }, everyMs);
      await new Promise<void>((resolve) => stream.addEventListener("close", () => resolve()));
      clearInterval(timer);
      return { sent, ms: performance.now() - start };
    },
    serve: async (protocol, answer) => {
      await libp2p.handle(protocol, async (stream) => {
        if (answer === "never") return;
        for (let at = 0; at < answer.byteLength && stream.status === "open"; at += 65_536) {
          if (!stream.send(answer.subarray(at, at + 65_536))) await stream.onDrain();
        }
        await stream.close();
      }, { force: true });
    },
    again: () => libp2p.dial(multiaddr(address), { force: true }),
    stop: async () => {
      await libp2p.stop();
    },
  };
}
