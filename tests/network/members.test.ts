/** One key with several certificates before a real worker: each connection counts for the member that its certificate proves. */
import { randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeGateFactory } from "../../actors/gate/gate.ts";
import type { RequestAnswer } from "../../transport/port.ts";
import type { ApiRequest } from "../../transport/protocols/messages.ts";
import { awake } from "../support/awake.ts";
import { cell, makeNodeNetwork, type RunningNode } from "../support/node_network.ts";
import type { TestNode, TestPki } from "../support/pki.ts";
import { identityOf, of, startTransport, type TestTransport, until } from "../support/transports.ts";
import { aggregateSpec } from "../support/worker_world.ts";

const test = suite("members of a real network");
const api = "/hypha-api/0.0.1";
const topic = "hypha/worker";

/** A worker behind a gateway. Its only executor is the parameter server: its job waits for updates for as long as it may. */
async function startWorker() {
  const network = await makeNodeNetwork();
  const gateway = await network.start("gateway-01", "gateway");
  const { addresses } = await gateway.said("node.listening");
  const worker = await network.start("worker-01", "worker", {
    gatewayAddresses: [(addresses as string[])[0] as string],
    workDir: join(network.folder, "work"),
    resources: { cpu: 2, memory: 4, storage: 10, gpu: 0 },
    offer: { price: 10, floor: 1, strategy: "flexible" },
    executors: [
      { class: "aggregate", name: "parameter-server", runtime: "parameter-server", cmd: undefined, args: [] },
    ],
    cell: cell(),
  } as never);
  await worker.said("node.ready");
  return { network, worker };
}

/** Peers of the worker that the test plays, each over a transport of its own. */
async function makePeers(pki: TestPki, worker: RunningNode) {
  const { peer, addresses: [address] } = await worker.said("node.listening") as unknown as {
    readonly peer: string;
    readonly addresses: readonly string[];
  };
  const all: TestTransport[] = [];
  // Their clock is late, so that the worker's gate is the first to see the end of a certificate.
  const makeGate = makeGateFactory({ ports: { now: () => Date.now() - 3_000, report: () => {} } });
  const say = async (by: TestTransport, message: ApiRequest) => {
    const ask = { type: "request", id: randomUUID(), peer, protocol: api, message, timeoutMs: 30_000 } as const;
    const answer = await by.ask(ask);
    return answer.type === "response" ? answer.message as Readonly<Record<string, unknown>> : { [answer.type]: answer };
  };
  return {
    worker: peer,
    async connect(name: string, node: TestNode) {
      const transport = await startTransport({
        pki,
        name,
        node,
        role: "scheduler",
        listenAddresses: [],
        makeGate,
      });
      all.push(transport);
      transport.send({ type: "serve", protocol: api });
      const dialled = await transport.ask({ type: "dial", id: name, target: { address: address as string } });
      assert.is(dialled.type, "dial.done");
      return transport;
    },
    /** Whether a renewal, or a dispatch, is granted. */
    async isGranted(by: TestTransport, message: ApiRequest) {
      const answer = await say(by, message);
      const [granted] = Object.values(answer);
      assert.is(Object.keys(answer)[0], Object.keys(message)[0], JSON.stringify(answer));
      return granted !== "Failed";
    },
    /** The code of a request that fails. */
    async codeOf(by: TestTransport, message: ApiRequest) {
      const failed = (await say(by, message))["request.failed"] as RequestAnswer | undefined;
      return failed?.type === "request.failed" ? failed.error.code : "it was answered";
    },
    /** Asks for offers until the worker makes one. */
    async lease(by: TestTransport): Promise<string> {
      const requests = new Set<string>();
      const refused = new Set<string>();
      const received = () => by.facts.flatMap((fact) => of("request.received")(fact) ?? []);
      for (let time = 0; time < 40; time++) {
        const id = randomUUID();
        requests.add(id);
        const executor = [{ class: "aggregate" as const, name: "parameter-server" }];
        const spec = { resources: { cpu: 1, gpu: 0, memory: 1, storage: 1 }, executor };
        const timeout = { secs_since_epoch: Math.ceil(Date.now() / 1_000) + 5, nanos_since_epoch: 0 };
        await by.ask({ type: "publish", id, topic, message: { id, spec, timeout, bid: 20 } });
        // On a busy machine the offer for an earlier request comes late, and an offer is over before it is accepted.
        const offerOf = ({ message }: { readonly message: object }) =>
          ("WorkerOffer" in message ? message.WorkerOffer : { id: "", request_id: "" }) as {
            readonly id: string;
            readonly request_id: string;
          };
        const fresh = () =>
          received().find((fact) => requests.has(offerOf(fact).request_id) && !refused.has(offerOf(fact).id));
        const offered = await until("an offer", fresh, 500).catch(() => undefined);
        if (offered === undefined) continue;
        by.send({ type: "respond", exchange: offered.exchange, message: { WorkerOffer: {} } });
        const { id: lease } = offerOf(offered);
        const answer = await say(by, { RenewLease: { id: lease } });
        assert.ok("RenewLease" in answer, JSON.stringify(answer));
        if (answer["RenewLease"] !== "Failed") return lease;
        refused.add(lease);
      }
      throw new Error("Cannot lease: the worker makes no offer");
    },
    stop: () => Promise.all(all.map((transport) => transport.stop())),
  };
}

test("a renewal with the same key keeps lease and job; revoking the role ends both, the key's other role stays", async () => {
  const { network, worker } = await startWorker();
  const { pki } = network;
  const peers = await makePeers(pki, worker);
  const { connect, isGranted } = peers;
  try {
    const first = await pki.node("scheduler-01", { role: "scheduler" });
    const { keyPem } = first;
    const scheduler = await connect("scheduler", first);
    const id = await peers.lease(scheduler);
    const job = aggregateSpec([peers.worker], randomUUID(), scheduler.peer);
    const dispatch = { DispatchJob: { id: randomUUID(), spec: job } };
    assert.ok(await isGranted(scheduler, dispatch));

    const other = await connect("other role", await pki.node("worker-02", { role: "worker", keyPem }));
    assert.is(other.peer, scheduler.peer);
    for (const message of [{ RenewLease: { id } }, dispatch]) {
      assert.equal(await peers.codeOf(other, message), "no-answer", "its certificate names another role");
    }

    const second = await pki.node("scheduler-01", { role: "scheduler", keyPem });
    const renewed = await connect("renewed", second);
    assert.ok(await isGranted(renewed, { RenewLease: { id } }));
    network.publishCrls(await pki.crls({ number: 2n, revoked: [first] }));
    await scheduler.fact(of("peer.closed"));
    assert.ok(await isGranted(renewed, { RenewLease: { id } }), "the member is still connected");
    assert.ok(await isGranted(renewed, dispatch), "and may change its job");
    assert.equal(worker.lines.filter(({ event }) => event === "peer.closed" || event === "lease.ended"), []);

    const clock = awake();
    network.publishCrls(await pki.crls({ number: 3n, revoked: [first, second] }));
    const ended = await worker.said("lease.ended");
    const tookMs = clock.ms();
    clock.stop();
    assert.match(String(ended["reason"]), "certificate-revoked");
    assert.is((await worker.said("job.ended"))["outcome"], "cancelled");
    assert.ok(tookMs < 2_000, `after ${tookMs} ms`);
    assert.is((await worker.said("peer.closed"))["code"], "certificate-revoked");
    assert.is(await peers.codeOf(other, { RenewLease: { id } }), "no-answer", "its connection goes on");
    assert.not(other.facts.some((fact) => fact.type === "peer.closed"));
    const left = worker.actor.getSnapshot().context.members.filter(({ peer }) => peer === other.peer);
    assert.equal(left.map(({ role }) => role), ["worker"]);
  } finally {
    await peers.stop();
    await network.stop();
  }
});

test("bug: a renewal with the same key lost lease and job at the end of the former certificate", async () => {
  const { network, worker } = await startWorker();
  const { pki } = network;
  const peers = await makePeers(pki, worker);
  const { connect, isGranted } = peers;
  /** A certificate of the same key, for a moment. */
  const briefly = ({ name, keyPem }: TestNode, role: string, ms: number) =>
    pki.node(name, { role, keyPem, notAfter: new Date(Math.ceil((Date.now() + ms) / 1_000) * 1_000) });
  const seen = (event: string) => worker.lines.filter((line) => line.event === event);
  try {
    const first = await pki.node("scheduler-01", { role: "scheduler" });
    const scheduler = await connect("scheduler", first);
    const id = await peers.lease(scheduler);
    const job = aggregateSpec([peers.worker], randomUUID(), scheduler.peer);
    const dispatch = { DispatchJob: { id: randomUUID(), spec: job } };
    assert.ok(await isGranted(scheduler, dispatch));

    const brief = await connect("brief", await briefly(first, "scheduler", 4_000));
    scheduler.send({ type: "close", peer: peers.worker, reason: "the other one is to be the last" });
    brief.send({ type: "identity.changed", identity: { ...identityOf(first), generation: 2 } });
    assert.ok(await isGranted(brief, { RenewLease: { id } }));
    await until("the end of the scheduler's certificate", () => seen("peer.closed").length === 1);
    await brief.fact(of("peer.closed"));
    assert.ok(await isGranted(brief, { RenewLease: { id } }), "the scheduler's certificate ended");

    writeFileSync(worker.files.certPath, (await briefly(worker.certificate, "worker", 6_000)).chainPem);
    await worker.said("identity.renewed");
    const last = await connect("last", first);
    brief.send({ type: "close", peer: peers.worker, reason: "the other one is to be the last" });
    writeFileSync(worker.files.certPath, worker.certificate.chainPem);
    await until("another renewal", () => seen("identity.renewed").length === 2);
    assert.ok(await isGranted(last, { RenewLease: { id } }));
    await until("the end of the worker's certificate", () => seen("peer.closed").length === 2);
    await last.fact(of("peer.closed"));
    assert.ok(await isGranted(last, { RenewLease: { id } }), "the worker's certificate ended");

    assert.equal(seen("peer.closed").map(({ fields }) => fields?.["reason"]), ["expired", "expired"]);
    assert.ok(await isGranted(last, dispatch), "the job runs, and is the lease's");
    assert.equal(worker.lines.filter(({ event }) => /^(lease|job)\.(ended|lapsed)$/.test(event)), []);
  } finally {
    await peers.stop();
    await network.stop();
  }
});

test.run();
