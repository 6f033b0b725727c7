/** Addresses of other nodes without an IP: DNS names, filtered by what they resolve to, and Unix sockets. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type ListenOptions, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeTestPki } from "../support/pki.ts";
import { identityOf, of, startTransport, type TestTransport, until } from "../support/transports.ts";

const test = suite("addresses of others without an IP");
const pki = await makeTestPki();
const loopback = ["127.0.0.0/8", "::1/128"];

/** A service of the machine that no member may reach, and the connections that arrived there. */
async function startService(where: ListenOptions) {
  let arrived = 0;
  const server: Server = createServer((socket) => {
    arrived += 1;
    socket.destroy();
  });
  await new Promise<void>((listening) => server.listen(where, listening));
  const address = server.address();
  const port = typeof address === "object" ? address?.port : undefined;
  return { arrived: () => arrived, port, close: () => new Promise((closed) => server.close(closed)) };
}

async function dial(by: TestTransport, target: object) {
  const answer = await by.ask({ type: "dial", id: crypto.randomUUID(), target } as never);
  return answer.type === "dial.failed"
    ? { code: answer.refusal.code, detail: JSON.stringify(answer.refusal) }
    : { code: answer.type, detail: "" };
}

test("bug: names that other nodes announce led inside exclude_cidr", async () => {
  const service = await startService({ port: 0, host: "127.0.0.1" });
  const names = ["/dns/localhost", "/dns4/localhost", "/dns6/localhost", "/dns4/127.1", "/dns4/127.0.0.1"];
  const addresses = names.map((name) => `${name}/tcp/${service.port}`);
  const b = await startTransport({ pki, name: "b", externalAddresses: addresses });
  // A gateway does not wait for others that it could ask about a peer.
  const a = await startTransport({ pki, name: "a", role: "gateway", excludeCidr: loopback });
  for (const address of addresses) {
    assert.is((await dial(a, { address: `${address}/p2p/${b.peer}` })).code, "unreachable", address);
    assert.is((await dial(a, { address })).code, "unreachable", address);
  }
  // Once identify has told them.
  let dialled = { code: "", detail: "no valid addresses" };
  for (let closed = 1; dialled.detail.includes("no valid addresses") && closed < 50; closed++) {
    assert.is((await dial(b, { address: a.addresses[0] })).code, "dial.done");
    await new Promise((passed) => setTimeout(passed, 100));
    b.send({ type: "close", peer: a.peer, reason: "a dials now" });
    await until("the close", () => a.facts.filter(of("peer.closed")).length === closed);
    dialled = await dial(a, { peer: b.peer });
  }
  assert.is(dialled.code, "unreachable");
  assert.match(dialled.detail, "no address of this name may be dialled");
  assert.is(service.arrived(), 0);
  await Promise.all([a.stop(), b.stop(), service.close()]);
});

test("bug: a Unix socket that another node announces was dialled", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hypha-socket-"));
  const path = join(folder, "service.sock");
  const service = await startService({ path });
  const a = await startTransport({ pki, name: "a" });
  const { peer } = identityOf(await pki.node("b"));
  const address = `/unix/${encodeURIComponent(path)}`;
  const outcomes = await Promise.all([address, `${address}/p2p/${peer}`].map((each) => dial(a, { address: each })));
  assert.equal(outcomes.map(({ code }) => code), ["unreachable", "unreachable"]);
  assert.is(service.arrived(), 0);
  await Promise.all([a.stop(), service.close()]);
  rmSync(folder, { recursive: true });
});

test("a name that resolves to allowed addresses, and one that is configured as a gateway, are dialled", async () => {
  const b = await startTransport({ pki, name: "b", role: "gateway" });
  const address = (b.addresses[0] as string).replace("/ip4/127.0.0.1/", "/dns4/localhost/");
  const place = address.replace(/\/p2p\/.*/, "");
  const elsewhere = await startTransport({ pki, name: "elsewhere", excludeCidr: ["10.0.0.0/8"] });
  assert.is((await dial(elsewhere, { address })).code, "dial.done");
  const configured = await startTransport({
    pki,
    name: "configured",
    gatewayAddresses: [place],
    excludeCidr: loopback,
  });
  assert.is((await dial(configured, { address })).code, "dial.done");
  await Promise.all([b.stop(), elsewhere.stop(), configured.stop()]);
});

test.run();
