/**
 * Records over both wires: a look-up finds what a data node publishes itself, whatever other members put first or answer.
 *
 * @module
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Role } from "../../pki/certificate.ts";
import type { HostilePeer } from "../../actors/simulation/hostile_peer.ts";
import type { PeerText, TransportAnswer } from "../../transport/port.ts";
import { type Meeting, type Party, realMeeting, simulatedMeeting } from "../support/conformance.ts";
import { dial, established, left } from "../support/conformance_acts.ts";
import { lying, type LyingPeer, putRecord } from "../support/lying_peer.ts";
import { makeTestPki, type TestPki } from "../support/pki.ts";
import { identityOf } from "../support/transports.ts";

const truth = '{"num_slices":3}';
const forged = '{"num_slices":7}';
const key = "digits";
const text = (value: Uint8Array) => new TextDecoder().decode(value);

const get = (from: Party) => from.ask({ type: "record.get", id: "get", key, timeoutMs: 5_000 });
/** The publisher that a look-up found, and the value; else the answer's type. */
const found = (answer: TransportAnswer) =>
  answer.type === "record" ? `${answer.publisher} ${text(answer.value)} ${answer.identity?.role}` : answer.type;
/** Looks the record up until a look-up has asked all these liars. */
async function lookedUp(meeting: Meeting, from: Party, liars: readonly LyingPeer[]): Promise<string> {
  for (let time = 0; time < 50; time++) {
    const before = liars.map(({ answered }) => answered);
    const answer = found(await get(from));
    if (liars.every(({ answered }, at) => answered > (before[at] ?? 0))) return answer;
    await meeting.pass(100);
  }
  throw new Error("Cannot see a look-up that asks every liar");
}
const stop = (hostiles: readonly HostilePeer[]) => hostiles.map(({ wire }) => wire.stop(() => {}));

for (const meetingOf of [realMeeting, simulatedMeeting]) {
  let pki: TestPki;
  const test = suite(`records over ${meetingOf === realMeeting ? "libp2p" : "the virtual network"}`);
  test.before(async () => {
    pki = await makeTestPki();
  });

  /** A node whose certificate names its role; without one, of the existing network. */
  const join = async (meeting: Meeting, role: Role, { named = true, name = role as string } = {}) =>
    await meeting.join(name, {
      node: await pki.node(name, named ? { role } : {}),
      gateway: role === "gateway",
      input: { role },
    });
  const connect = async (from: Party, ...others: Party[]): Promise<void> => {
    for (const to of others) {
      assert.is((await dial(from, to)).type, "dial.done");
      await to.fact(established(from.peer));
    }
  };
  const put = (from: Party, value = truth) =>
    from.ask({ type: "record.put", id: "put", key, value: new TextEncoder().encode(value), timeoutMs: 3_000 });
  const stored = async (meeting: Meeting, from: Party): Promise<void> => {
    let type = "";
    for (let time = 0; time < 40 && type !== "record.stored"; time++) {
      type = (await put(from)).type;
      await meeting.pass(100);
    }
    assert.is(type, "record.stored");
  };
  /** A member without a core that is connected to these nodes. */
  const intrude = async (meeting: Meeting, name: string, role: Role | undefined, to: readonly Party[]) => {
    const hostile = await meeting.intrude(name, await pki.node(name, role === undefined ? {} : { role }));
    for (const party of to) {
      const opened = new Promise((resolve) => hostile.dial(party.address, resolve));
      await party.fact(established(hostile.identity.peer));
      await opened;
    }
    return hostile;
  };
  test("a worker that publishes first does not squat the key: the data node's record is found", async () => {
    const meeting = meetingOf(pki);
    const gateway = await join(meeting, "gateway");
    const [worker, scheduler] = [await join(meeting, "worker"), await join(meeting, "scheduler")];
    await connect(worker, gateway);
    await connect(scheduler, gateway);
    for (let time = 0; time < 5; time++) {
      await put(worker, forged);
      await meeting.pass(100);
    }
    assert.is(found(await get(scheduler)), "record.missing");
    const data = await join(meeting, "data");
    await connect(data, gateway);
    await stored(meeting, data);
    assert.is(found(await get(scheduler)), `${data.peer} ${truth} data`);
    await left(gateway, worker, scheduler, data);
  });

  test("1, 3 and 10 liars: the look-up finds what the true publisher says itself", async () => {
    const meeting = meetingOf(pki);
    const gateway = await join(meeting, "gateway");
    const [scheduler, data] = [await join(meeting, "scheduler"), await join(meeting, "data")];
    await connect(scheduler, gateway);
    await connect(data, gateway);
    await stored(meeting, data);
    const [hostiles, liars]: [HostilePeer[], LyingPeer[]] = [[], []];
    const stranger = identityOf(await pki.node("stranger")).peer;
    for (const count of [1, 3, 10]) {
      while (liars.length < count) {
        // A member of another role is not asked over libp2p: it does not come into the DHT's table.
        const hostile = await intrude(meeting, `liar-${liars.length}`, "gateway", [scheduler, gateway]);
        hostiles.push(hostile);
        liars.push(lying(hostile, { publisher: hostile.identity.peer, value: forged }));
      }
      const publishers: ((hostile: HostilePeer) => PeerText)[] = [
        ({ identity: { peer } }) => peer,
        () => data.peer,
        () => stranger,
      ];
      for (const publisher of publishers) {
        liars.forEach((liar, at) => {
          liar.lie = { publisher: publisher(hostiles[at] as HostilePeer), value: forged };
        });
        assert.is(await lookedUp(meeting, scheduler, liars), `${data.peer} ${truth} data`, `${count} liars`);
      }
    }
    stop(hostiles);
    await left(gateway, scheduler, data);
  });

  test("bug: until a data node had published, it counted as one of the existing network: what most answers said of it was found", async () => {
    const meeting = meetingOf(pki);
    const gateway = await join(meeting, "gateway");
    const [scheduler, data] = [await join(meeting, "scheduler"), await join(meeting, "data")];
    await connect(scheduler, gateway, data);
    await connect(data, gateway);
    const hostile = await intrude(meeting, "liar", "gateway", [scheduler, gateway]);
    const liar = lying(hostile, { publisher: data.peer, value: forged });
    assert.is(await lookedUp(meeting, scheduler, [liar]), "record.missing");
    await stored(meeting, data);
    assert.is(await lookedUp(meeting, scheduler, [liar]), `${data.peer} ${truth} data`);
    stop([hostile]);
    await left(gateway, scheduler, data);
  });

  test("an existing network: no certificate names a role, and the data node does not speak our protocol", async () => {
    const meeting = meetingOf(pki);
    const gateways = [];
    for (const name of ["gateway-1", "gateway-2"]) {
      gateways.push(await join(meeting, "gateway", { named: false, name }));
    }
    const scheduler = await join(meeting, "scheduler", { named: false });
    await connect(scheduler, ...gateways);
    const data = await intrude(meeting, "data", undefined, gateways);
    const putAt = async (count: number) => {
      for (const connection of [...data.connections].slice(0, count)) {
        let isTaken = false;
        for (let time = 0; time < 40 && !isTaken; time++) {
          void putRecord(data, connection, { key, value: truth }).then((taken) => isTaken = taken);
          await meeting.pass(50);
        }
        assert.ok(isTaken);
      }
    };
    await putAt(1);
    const right = `${data.identity.peer} ${truth} undefined`;
    assert.is(found(await get(scheduler)), right);
    // Half of the answers are no majority; of two against one they are.
    const hostile = await intrude(meeting, "liar", undefined, [scheduler, ...gateways]);
    const liar = lying(hostile, { publisher: hostile.identity.peer, value: forged });
    assert.is(await lookedUp(meeting, scheduler, [liar]), "record.missing");
    await putAt(2);
    assert.is(await lookedUp(meeting, scheduler, [liar]), right);
    stop([hostile, data]);
    await left(...gateways, scheduler);
  });

  test.run();
}
