/** A member whose link was lost without an end, and which comes back, between real wires. */
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { WireConnection } from "../../../transport/core/wire.ts";
import { endLostLinks, silentMaxMs } from "../../../transport/libp2p/older_links.ts";
import { whileAwake } from "../../support/awake.ts";
import { ManualClock } from "../../support/manual_clock.ts";
import { makeTestPki } from "../../support/pki.ts";
import { startWire, type TestWire } from "../../support/libp2p_wires.ts";
import { identityOf, until } from "../../support/transports.ts";

const test = suite("endLostLinks()");
const pki = await makeTestPki();

/** A link to a port of loopback that can fall silent: nothing goes on, and no end does. */
async function makeLink(address: string) {
  const port = Number(/tcp\/(\d+)/.exec(address)?.[1]);
  const sockets: Socket[] = [];
  let isSilent = false;
  const join = (from: Socket, to: Socket) => {
    sockets.push(from);
    from.on("data", (bytes) => !isSilent && to.write(bytes));
    from.on("end", () => !isSilent && to.end());
    from.on("close", () => !isSilent && to.destroy());
    from.on("error", () => {});
  };
  const server = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    join(near, far);
    join(far, near);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: `/ip4/127.0.0.1/tcp/${(server.address() as AddressInfo).port}`,
    fallSilent: () => void (isSilent = true),
    end: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** A gateway, a node of it, and the node once more: as the process that starts after a loss of power. */
async function startThree(): Promise<readonly [TestWire, TestWire, TestWire]> {
  const [gateway, node] = await Promise.all([pki.node("gateway"), pki.node("node")]);
  return await Promise.all([
    startWire(pki, { identity: identityOf(gateway) }),
    startWire(pki, { identity: identityOf(node) }),
    startWire(pki, { identity: identityOf(node) }),
  ]);
}
const dial = async (from: TestWire, address: string): Promise<WireConnection> =>
  Result.getOrThrow(await from.dial({ address }));

test("bug: the connection of a lost link stayed open for 50 s after its node had come back", async () => {
  const [gateway, before, after] = await startThree();
  const link = await makeLink(gateway.started.bound[0]!);
  const lost = await dial(before, link.address);
  await until("the first connection", () => gateway.listener.opens.length === 1);
  link.fallSilent();
  await dial(after, gateway.started.bound[0]!);
  await until("the second connection", () => gateway.listener.opens.length === 2);
  const [older, newer] = gateway.listener.opens;
  const began = performance.now();
  await until("the end of the first", () => !older!.isOpen, silentMaxMs + 3_000);
  assert.ok(performance.now() - began > silentMaxMs - 500, "it had its time to answer");
  assert.is(newer!.isOpen, true);
  assert.is(lost.isOpen, true, "its node has no newer one, and waits for its own pings");
  link.end();
  await Promise.all([gateway, before, after].map((wire) => wire.stop()));
});

test("an older connection over which its peer answers stays", async () => {
  const [gateway, before, after] = await startThree();
  const kept = await dial(before, gateway.started.bound[0]!);
  const newer = await dial(after, gateway.started.bound[0]!);
  await until("both connections", () => gateway.listener.opens.length === 2);
  await whileAwake(silentMaxMs + 500);
  assert.equal([kept, newer, ...gateway.listener.opens].map(({ isOpen }) => isOpen), [true, true, true, true]);
  await Promise.all([gateway, before, after].map((wire) => wire.stop()));
});

test("an older connection is lost where it alone is silent, and not while the newer one is silent too", () => {
  const clock = new ManualClock();
  const lost: string[] = [];
  const link = (name: string, isHeard: boolean) => ({
    isOpen: true,
    probe: () => () => isHeard,
    lost: () => void lost.push(name),
  });
  const [silent, heard, both] = [link("silent", false), link("heard", true), link("both", false)];
  endLostLinks(heard, [silent, undefined, heard], clock);
  endLostLinks(both, [silent, both], clock);
  clock.pass(silentMaxMs - 1);
  assert.equal(lost, []);
  clock.pass(1);
  assert.equal(lost, ["silent"]);
  endLostLinks(heard, [heard, { ...silent, isOpen: false }], clock);
  endLostLinks({ ...heard, isOpen: false }, [silent], clock);
  clock.pass(silentMaxMs);
  assert.equal(lost, ["silent"], "there was nothing to compare");
});

test.run();
