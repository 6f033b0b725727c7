/** Nodes under load whose certificates are renewed by the machine of enrolment, with the same key and with another. */
import { Buffer } from "node:buffer";
import { dirname, join } from "node:path";
import process from "node:process";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { certsOnly } from "../../actors/ca/est_bodies.ts";
import type { AskHttps } from "../../actors/enrolment/ask_https.ts";
import { enrolmentMachine } from "../../actors/enrolment/enrolment.ts";
import { enrolmentFiles } from "../../actors/enrolment/enrolment_store.ts";
import { makePorts } from "../../actors/runtime/real_ports.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { signCsr } from "../../pki/issue/mod.ts";
import { formatPem, parsePem } from "../../pki/pem.ts";
import { defaultPolicy } from "../../pki/trust.ts";
import { makeNodeNetwork, type NodeNetwork, type RunningNode } from "../support/node_network.ts";
import type { TestPki } from "../support/pki.ts";
import { startTransport, type TestTransport } from "../support/transports.ts";

const test = suite("renewal under load");
/** How often the certificate is renewed; the full count is `HYPHA_RENEWALS=100`. */
const renewals = Number(process.env["HYPHA_RENEWALS"] ?? 4);
const health = "/hypha-health/0.0.1";
const promiseMs = 15_000;
const dayMs = 86_400_000;

/** A CA that renews what it is shown, for a year. */
async function makeCa(pki: TestPki): Promise<AskHttps> {
  const own = await pki.node("ca-01", { role: "ca" });
  return (asked) =>
    Effect.gen(function* () {
      const refusal = asked.judge(own.chain);
      if (refusal !== undefined) return yield* refusal;
      const answered = (body: string) => ({ status: 200, headers: {}, body: Buffer.from(body) });
      if (asked.path.endsWith("/cacerts")) return answered(certsOnly([pki.root.der, pki.intermediate.der]));
      const [leaf] = Result.getOrThrow(parsePem(asked.pair?.certPem ?? ""));
      const renews = Result.getOrThrow(parseCertificate(Uint8Array.from(leaf!.der)));
      const csrPem = formatPem("CERTIFICATE REQUEST", Buffer.from(asked.body ?? "", "base64"));
      const period = { notBefore: new Date(Date.now() - 300_000), notAfter: new Date(Date.now() + 364 * dayMs) };
      const made = yield* Effect.promise(() =>
        signCsr({ issuer: pki.intermediate, csrPem, identity: { renews }, ...period })
      );
      return answered(certsOnly([made.der]));
    });
}

/** Renews a node's files when it is told to: for the machine alone, ten months pass at once. */
async function renewer(network: NodeNetwork, node: RunningNode, key: "same" | "new") {
  let ahead = false;
  const real = makePorts(() => {});
  const { certPath: certPem, keyPath: keyPem, trustPath: trustPem } = node.files;
  const store = enrolmentFiles({ certPem, keyPem, trustPem, stateDir: join(dirname(certPem), "enrolment") });
  const failures: unknown[] = [];
  const actor = superviseRoot(enrolmentMachine, {
    id: "enrolment",
    clock: {
      setTimeout: (task: () => void, ms: number) => setTimeout(task, Math.min(ms, 10)),
      clearTimeout: (timer: unknown) => clearTimeout(timer as ReturnType<typeof setTimeout>),
    } as unknown as NonNullable<Parameters<typeof superviseRoot>[1]["clock"]>,
    input: {
      ports: { ...real, now: () => Date.now() + (ahead ? 300 * dayMs : 0), report: () => {} },
      ask: await makeCa(network.pki),
      store: {
        ...store,
        write: (files) => Effect.andThen(Effect.sync(() => void (ahead = false)), store.write(files)),
      },
      role: "gateway",
      policy: defaultPolicy,
      membership: { ca: ["https://ca.test"], renew: true, key, newKeyEveryMs: undefined },
    },
    onError: (error) => failures.push(error),
  });
  return {
    renew: () => void (ahead = true),
    isResting: () => actor.getSnapshot().matches("resting"),
    stop: async () => {
      const { value, context } = actor.getSnapshot();
      actor.stop();
      await real.dispose();
      assert.equal(failures, []);
      assert.ok(actor.getSnapshot().matches("failed") === false, `${JSON.stringify(value)} ${context.error?.message}`);
    },
  };
}

/** Exchanges one after the other: with the peer that is known, and where that fails by address, until one is done. */
function load(by: TestTransport, address: string) {
  let over = false;
  const lost: string[] = [];
  const counts = { exchanges: 0, again: 0 };
  const exchange = async (known: string | undefined, id: string): Promise<string | undefined> => {
    const began = performance.now();
    let why = "";
    for (let time = 0, peer = known; performance.now() - began < promiseMs; time++) {
      if (time > 0) counts.again += 1;
      if (peer === undefined) {
        const dialled = await by.ask({ type: "dial", id: `${id}/${time}`, target: { address } });
        if (dialled.type === "dial.done") peer = dialled.peer;
        else if (dialled.type === "dial.failed") why = dialled.refusal.message;
      }
      if (peer !== undefined) {
        const ask = { type: "request", id: `${id}/${time}`, peer, protocol: health, message: {} } as const;
        const answer = await by.ask({ ...ask, timeoutMs: 2_000 });
        if (answer.type === "response") return peer;
        if (answer.type === "request.failed") why = answer.error.message;
        peer = undefined;
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    lost.push(`${id}: ${why}`);
    return undefined;
  };
  const done = (async () => {
    let peer: string | undefined;
    for (; !over; counts.exchanges += 1) {
      peer = await exchange(peer, `${by.name}/${counts.exchanges}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  })();
  const end = async () => {
    over = true;
    await done;
    assert.equal(lost, []);
    return counts;
  };
  return { counts, end };
}

for (const key of ["same", "new"] as const) {
  test(`${renewals} renewals of a gateway with ${key === "same" ? "the same key" : "a new key"}: no exchange is lost`, async () => {
    const network = await makeNodeNetwork();
    const gateway = await network.start("gateway", "gateway", {
      externalAddresses: ["/ip4/127.0.0.1/tcp/1"],
      rotation: { drain: "expiry", drainMs: 20_000 },
    });
    await gateway.said("node.ready");
    const listening = await gateway.said("node.listening");
    const address = (listening["addresses"] as readonly string[])[0]!.replace(/\/p2p\/[^/]+$/, "");
    const clients = await Promise.all(["one", "two"].map(async (name) => {
      const node = await network.pki.node(name, { role: "worker" });
      return await startTransport({ pki: network.pki, name, node, listenAddresses: [], handshakeTimeoutMs: 5_000 });
    }));
    const loads = clients.map((by) => load(by, address));
    const { renew, isResting, stop } = await renewer(network, gateway, key);
    for (let count = 1; count <= renewals; count++) {
      const seen = gateway.lines.filter(({ event }) => event === "identity.renewed").length;
      const before = loads.map(({ counts }) => counts.exchanges);
      renew();
      const ends = performance.now() + 30_000;
      // The next renewal comes when the node has taken this one up, and everybody has spoken with it since.
      while (
        !isResting() || gateway.lines.filter(({ event }) => event === "identity.renewed").length === seen ||
        !loads.every(({ counts }, index) => counts.exchanges > before[index]! + 2)
      ) {
        assert.ok(performance.now() < ends, "the renewal was not taken up");
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
    const counts = await Promise.all(loads.map(({ end }) => end()));
    await stop();
    const lines = gateway.lines.filter(({ event }) => event === "identity.renewed");
    assert.is(lines.length, renewals);
    assert.ok(lines.every(({ fields }) => fields?.["key"] === key));
    const closed = clients.flatMap(({ facts }) => facts.filter(({ type }) => type === "peer.closed")).length;
    if (key === "same") {
      assert.is(closed, 0, "connections stay open");
      assert.is(counts.reduce((sum, { again }) => sum + again, 0), 0);
    }
    assert.equal(gateway.lines.filter(({ level }) => level === "error").map(({ event }) => event), []);
    if (renewals >= 100) console.log(JSON.stringify(counts));
    await Promise.all(clients.map((each) => each.stop()));
    await network.stop();
  });
}

test.run();
