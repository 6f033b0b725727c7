/** Where a transport cannot listen, and what it says then: on loopback, and with the system's codes played. */
import { createServer, type Server } from "node:net";
import { readFileSync } from "node:fs";
import type { Listener, Transport } from "@libp2p/interface";
import { multiaddr } from "@multiformats/multiaddr";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createActor, setup } from "xstate";
import { Listening } from "../../../transport/libp2p/listening.ts";
import type { StartAnswer, TransportFact, TransportInput } from "../../../transport/port.ts";
import { transportLogic } from "../../../transport/libp2p/transport.ts";
import { makeTestPki } from "../../support/pki.ts";
import { startTransport, transportInputOf } from "../../support/transports.ts";
import { unprivileged } from "../../support/unprivileged.ts";

const test = suite("listening");
const pki = await makeTestPki();

/** Starts a transport and says what it answered. */
function startAt(listenAddresses: readonly string[]): Promise<StartAnswer> {
  return new Promise((resolve) => {
    const input: TransportInput = { ...transportInputOf({ pki, node }), listenAddresses };
    const parent = createActor(
      setup({ types: { events: {} as TransportFact }, actors: { transport: transportLogic } }).createMachine({
        invoke: { id: "transport", src: "transport", input },
      }),
    );
    parent.start();
    const answered = (answer: StartAnswer) => {
      parent.stop();
      resolve(answer);
    };
    parent.getSnapshot().children["transport"]?.send({ type: "start", replyTo: { send: answered } } as never);
  });
}
const node = await pki.node("a");

const detailOf = (answer: StartAnswer) => answer.type === "transport.failed" ? answer.error.message : answer.type;

async function takenPort(): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  return { server, port: typeof address === "object" && address !== null ? address.port : 0 };
}

test("names the one of several addresses whose port is taken, in one sentence without a stack", async () => {
  const { server, port } = await takenPort();
  const taken = `/ip4/127.0.0.1/tcp/${port}`;
  const answer = await startAt(["/ip4/127.0.0.1/tcp/0", taken]);
  server.close();
  assert.is(detailOf(answer), `Cannot listen on ${taken}: another process uses the port (ss -ltnp shows which)`);
  assert.is(answer.type === "transport.failed" && answer.error.code, "not-listening");
});

test("says that this machine lacks an address", async () => {
  const answer = await startAt(["/ip4/192.0.2.77/tcp/0"]);
  assert.match(
    detailOf(answer),
    /^Cannot listen on \/ip4\/192\.0\.2\.77\/tcp\/0: this machine does not have this address/,
  );
});

// Where every port is everybody's, or IPv6 is missing, the system's codes are played (below).
const firstFreePort = Number(readFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start", "utf8"));
if (firstFreePort >= 100) {
  test("says which ports want a right that the process lacks", async () => {
    const answer = await unprivileged(() => startAt(["/ip4/127.0.0.1/tcp/99"]));
    assert.match(detailOf(answer), /tcp\/99: ports below 1024 need a right .*CAP_NET_BIND_SERVICE/);
  });
}

const ipv6 = createServer();
const hasIpv6 = await new Promise<boolean>((done) => {
  ipv6.once("error", () => done(false));
  ipv6.listen({ port: 0, host: "::1" }, () => done(true));
});
test.after(() => void ipv6.close());
if (hasIpv6) {
  test("a taken port of IPv6 is an error, though libp2p would go on with IPv4 alone", async () => {
    const { port } = ipv6.address() as { port: number };
    const answer = await startAt(["/ip4/127.0.0.1/tcp/0", `/ip6/::1/tcp/${port}`]);
    assert.match(detailOf(answer), `Cannot listen on /ip6/::1/tcp/${port}: another process`);
  });
}

test("tells what is bound, with the port that there is, beside what is announced", async () => {
  const a = await startTransport({
    pki,
    name: "a",
    listenAddresses: ["/ip4/0.0.0.0/tcp/0"],
    externalAddresses: ["/ip4/192.0.2.1/tcp/7"],
    excludeCidr: ["127.0.0.0/8"],
  });
  assert.is(a.bound.length, 1);
  assert.match(a.bound[0] ?? "", /^\/ip4\/0\.0\.0\.0\/tcp\/[1-9]\d*$/);
  assert.ok(a.addresses.includes(`/ip4/192.0.2.1/tcp/7/p2p/${a.peer}`));
  assert.not(a.addresses.some((address) => address.startsWith("/ip4/127.")));
  await a.stop();
});

/** A transport whose listener ends as the test says. */
async function played(code: string | undefined, address: string): Promise<Listening> {
  const listening = new Listening();
  const error = Object.assign(new Error(`listen ${code}: it failed\n    at a stack`), { code });
  const listener = {
    server: { address: () => ({ port: 7 }) },
    addEventListener: () => {},
    listen: () => code === undefined ? Promise.resolve() : Promise.reject(error),
  } as unknown as Listener;
  const make = listening.watching(() => ({ createListener: () => listener }) as unknown as Transport);
  const addressManager = { confirmObservedAddr: () => {} };
  await make({ addressManager }).createListener({} as never).listen(multiaddr(address)).catch(() => {});
  return listening;
}

const codes: [code: string, address: string, why: RegExp][] = [
  ["EADDRINUSE", "/ip4/0.0.0.0/tcp/4001", /another process uses the port/],
  ["EADDRNOTAVAIL", "/ip4/192.0.2.1/tcp/4001", /does not have this address/],
  ["EINVAL", "/ip4/192.0.2.1/tcp/4001", /does not have this address/],
  ["EAFNOSUPPORT", "/ip6/::1/tcp/4001", /does not speak this version of IP/],
  ["EACCES", "/ip4/0.0.0.0/tcp/1023", /ports below 1024/],
  ["EACCES", "/ip4/0.0.0.0/tcp/1024", /does not allow this process to listen there \(EACCES\)/],
  ["EPERM", "/ip4/0.0.0.0/tcp/80", /ports below 1024/],
  ["EOTHER", "/ip4/0.0.0.0/tcp/80", /^Cannot listen on \/ip4\/0\.0\.0\.0\/tcp\/80: listen EOTHER: it failed$/],
];
for (const [code, address, why] of codes) {
  test(`${code} at ${address} is one sentence`, async () => {
    const error = (await played(code, address)).error([address], "failed");
    assert.match(error?.message ?? "", why);
    assert.not.match(error?.message ?? "", /\n/);
  });
}

test("what libp2p went on without is an error only where the machine could have listened", async () => {
  const address = "/ip6/::/tcp/4001";
  for (const code of ["EADDRINUSE", "EACCES", "EPERM"]) {
    assert.ok((await played(code, address)).error([address], "started") !== undefined, code);
  }
  for (const code of ["EAFNOSUPPORT", "EADDRNOTAVAIL", "EINVAL"]) {
    const listening = await played(code, address);
    assert.is(listening.error([address], "started"), undefined, code);
    assert.is(listening.failures[0]?.address, address);
  }
});

test("an address that no transport of a node speaks is named", async () => {
  const quic = "/ip4/0.0.0.0/udp/4001/quic-v1";
  const listening = await played(undefined, "/ip4/0.0.0.0/tcp/0");
  assert.equal(listening.bound, ["/ip4/0.0.0.0/tcp/7"]);
  const error = listening.error(["/ip4/0.0.0.0/tcp/0", quic], "failed");
  assert.is(error?.message, `Cannot listen on ${quic}: only TCP is spoken here, as in /ip4/0.0.0.0/tcp/4001`);
});

test.run();
