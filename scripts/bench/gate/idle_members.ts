/**
 * Idle members of a network in one process: each with a certificate and a libp2p node of its own, which identifies itself and
 * answers pings. They take no part in gossip and the DHT.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { identify } from "@libp2p/identify";
import type { Connection, Stream } from "@libp2p/interface";
import { ping } from "@libp2p/ping";
import { tcp } from "@libp2p/tcp";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";
import { libp2pKey } from "../../../transport/libp2p/key.ts";
import { nodeMuxer, silentLogger } from "../../../transport/libp2p/node.ts";
import { encodeMessage } from "../../../transport/protocols/mod.ts";
import { identityFrom, securityOf } from "./security.ts";
import type { EndFiles } from "./world.ts";

/** Local addresses that members dial from, in turns: the gateway limits the connections of one. */
const sources = 20;
const healthProtocol = "/hypha-health/0.0.1";

/** Members that are connected. */
export interface IdleMembers {
  /** How many are still connected. */
  open(): number;
  /** Asks for the gateway's health so often, one member after the other; milliseconds of each, sorted. */
  ask(count: number): Promise<readonly number[]>;
}

/** Connects them one after the other. */
export async function joinMembers(address: string, members: readonly EndFiles[]): Promise<IdleMembers> {
  const connections: Connection[] = [];
  for (const [index, files] of members.entries()) {
    connections.push(await join(address, files, `127.0.0.${2 + index % sources}`));
  }
  return {
    open: () => connections.filter(({ status }) => status === "open").length,
    ask: async (count) => {
      const latencies: number[] = [];
      for (let asked = 0; asked < count; asked++) {
        const begun = performance.now();
        await askHealth(connections[(asked * 7_919) % connections.length]!);
        latencies.push(performance.now() - begun);
      }
      return latencies.sort((a, b) => a - b);
    },
  };
}

async function join(address: string, files: EndFiles, localAddress: string): Promise<Connection> {
  const identity = identityFrom(files);
  const security = securityOf({ ...files, way: "ours", listens: false }, identity);
  const dialOpts: object = { localAddress }; // `node:net` takes it, libp2p's type does not name it
  const node = await createLibp2p({
    privateKey: await libp2pKey(identity),
    transports: [tcp({ dialOpts })],
    streamMuxers: [nodeMuxer()],
    connectionEncrypters: [security.encrypter],
    connectionGater: { ...security.gater, denyDialMultiaddr: () => false },
    connectionMonitor: { enabled: false }, // as nodes have it: yamux pings
    logger: silentLogger,
    services: { identify: identify(), ping: ping() },
  });
  return await node.dial(multiaddr(address));
}

async function askHealth(connection: Connection): Promise<void> {
  const stream: Stream = await connection.newStream(healthProtocol);
  let received = 0;
  const answered = new Promise<void>((resolve, reject) => {
    stream.addEventListener("message", ({ data }) => received += data.byteLength);
    stream.addEventListener("remoteCloseWrite", () => resolve());
    stream.addEventListener("close", () => reject(new Error("closed before its answer")));
  });
  stream.send(Buffer.from(encodeMessage(healthProtocol, "request", {})));
  await Promise.all([stream.close(), answered]);
  if (received === 0) throw new Error("the gateway gave no answer");
}
