/** An internal of libp2p that is taken out of the real thing is named at start, in one line. */
import type { MessageStream, Transport } from "@libp2p/interface";
import { identify } from "@libp2p/identify";
import { tcp } from "@libp2p/tcp";
import { AbstractMessageStream } from "@libp2p/utils";
import { yamux } from "@libp2p/yamux";
import { createLibp2p } from "libp2p";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeGateFactory } from "../../../actors/gate/gate.ts";
import { checkMuxer, checkStreams, checkTcp } from "../../../transport/libp2p/connection_internals.ts";
import { makeMtlsSecurity } from "../../../transport/libp2p/mtls_security.ts";
import { libp2pKey } from "../../../transport/libp2p/key.ts";
import { silentLogger } from "../../../transport/libp2p/node.ts";
import { MovedInternal, writtenFor } from "../../../transport/libp2p/moved_internal.ts";
import { limitingMuxer } from "../../../transport/libp2p/negotiation_limit.ts";
import { makeTestPki } from "../../support/pki.ts";
import { identityOf, snapshotOf } from "../../support/transports.ts";

const test = suite("internals of connections");

type Change = (thing: Record<string, unknown>) => void;
type Components = Parameters<ReturnType<typeof tcp>>[0];
const components = { logger: silentLogger } as unknown as Components;

/** The real TCP transport, whose listeners and connections are changed as another version might change them. */
function changed({ listener = () => {}, connection = () => {} }: { listener?: Change; connection?: Change }) {
  return (given: Components): Transport => {
    const transport = tcp()(given);
    const create = transport.createListener.bind(transport);
    return Object.assign(transport, {
      createListener: (options: Parameters<typeof create>[0]) => {
        const upgradeInbound: typeof options.upgrader.upgradeInbound = (raw, rest) => {
          connection(raw as unknown as Record<string, unknown>);
          return options.upgrader.upgradeInbound(raw, rest);
        };
        const upgrader = Object.assign(Object.create(options.upgrader), { upgradeInbound });
        const made = create({ ...options, upgrader });
        listener(made as unknown as Record<string, unknown>);
        return made;
      },
    });
  };
}

const hide = (name: string): Change => (thing) => Object.defineProperty(thing, name, { value: undefined });
const tcpOf = (how: Parameters<typeof changed>[0]) => () => checkTcp(changed(how)(components));

test("the installed transport, streams and multiplexer are as they are used", () => {
  tcpOf({})();
  checkStreams();
  checkMuxer(yamux()(), silentLogger.forComponent("test"));
});

const moved: [what: string, how: Parameters<typeof changed>[0], message: RegExp][] = [
  ["a listener's server", { listener: hide("server") }, /@libp2p\/tcp \S+: it has no server in a TCP listener/],
  ["a listener's status", { listener: hide("status") }, /@libp2p\/tcp \S+: it has no status in a TCP listener/],
  ["a listener's pause", { listener: hide("pause") }, /@libp2p\/tcp \S+: it has no listener.pause\(\)/],
  [
    "the handler of connections",
    { listener: ({ server }) => (server as { removeAllListeners(): void }).removeAllListeners() },
    /it has no one handler of connections/,
  ],
  ["a connection's socket", { connection: hide("socket") }, /@libp2p\/tcp \S+: it has no socket in a TCP connection/],
  [
    "what was read ahead (takeSocket)",
    { connection: hide("readBuffer") },
    /@libp2p\/utils \S+: it has no readBuffer in a connection/,
  ],
  [
    "the length of what was read ahead",
    { connection: (raw) => Object.defineProperty(raw, "readBuffer", { value: {} }) },
    /it has no readBuffer.byteLength/,
  ],
  [
    "taking what was read ahead",
    { connection: (raw) => Object.defineProperty(raw, "readBuffer", { value: { byteLength: 0, subarray: () => {} } }) },
    /it has no connection.readBuffer.consume\(\)/,
  ],
  ["an orderly end (closeFromAbove)", { connection: hide("sendClose") }, /it has no connection.sendClose\(\)/],
  ["a reset (closeFromAbove)", { connection: hide("sendReset") }, /it has no connection.sendReset\(\)/],
];
for (const [what, how, message] of moved) {
  test(`names ${what} where it was moved`, () => assert.throws(tcpOf(how), message));
}

test("names the methods that hand streams on and ping, and the methods that streams are built of", () => {
  const lacking = (method: string) => () => {
    const real = yamux()();
    return {
      createStreamMuxer: (connection: MessageStream) =>
        Object.defineProperty(real.createStreamMuxer(connection as never), method, { value: undefined }),
    };
  };
  const make = (method: string) => () => limitingMuxer(lacking(method))({ logger: silentLogger });
  assert.throws(make("onRemoteStream"), /@libp2p\/yamux \S+: it has no muxer.onRemoteStream\(\)/);
  assert.throws(() => checkMuxer(lacking("ping")(), silentLogger.forComponent("test")), /it has no muxer.ping\(\)/);
  const base = Object.create(AbstractMessageStream.prototype, { onTransportClosed: { value: undefined } });
  assert.throws(() => checkStreams(base), /@libp2p\/utils \S+: it has no AbstractMessageStream.onTransportClosed\(\)/);
});

test("an application is told when it is made, in one line with both versions, before anything listens", async () => {
  const pki = await makeTestPki();
  const identity = identityOf(await pki.node("a"));
  const security = makeMtlsSecurity({
    identity: () => identity,
    snapshot: snapshotOf(pki),
    makeGate: makeGateFactory({ ports: { now: Date.now, report: () => {} } }),
    now: Date.now,
  });
  const error = await createLibp2p({
    privateKey: await libp2pKey(identity),
    addresses: { listen: ["/ip4/127.0.0.1/tcp/0"] },
    transports: [security.early(changed({ connection: hide("readBuffer") }))],
    streamMuxers: [yamux()],
    connectionEncrypters: [security.encrypter],
    connectionGater: security.gater,
    services: { identify: identify() },
  }).then(() => undefined, (error: unknown) => error);
  assert.instance(error, MovedInternal);
  const version = writtenFor["@libp2p/utils"];
  assert.is(
    (error as Error).message,
    `Cannot use @libp2p/utils ${version}: it has no readBuffer in a connection, which ${version} has. ` +
      `Run: npm install @libp2p/utils@${version}`,
  );
});

test.run();
