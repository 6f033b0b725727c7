/**
 * Acts of members whose role may not do them, one attack for each row of the table of acts that names roles.
 *
 * @module
 */
import type { Connection } from "@libp2p/interface";
import { createPrivateKey } from "node:crypto";
import { base58btc } from "multiformats/bases/base58";
import { type Act, rowOf } from "../../../transport/authorization/acts.ts";
import { prefixLength } from "../../../transport/core/length_prefixed.ts";
import { kadProtocol } from "../../../transport/core/wire.ts";
import { decodeKadMessage, encodeKadMessage, type KadRecord } from "../../../transport/protocols/kad_record.ts";
import { type ApiRequest, workerTopic } from "../../../transport/protocols/messages.ts";
import { encodeMessage, encodeWorkerRequest } from "../../../transport/protocols/mod.ts";
import { encodePullHeader } from "../../../transport/protocols/pull_header.ts";
import { type AttackMeans, holds, type MemberAttack, pause } from "./attack.ts";
import { foreignProtocols, publication, subscription } from "./foreign_messages.ts";
import { freshId } from "./fresh_id.ts";
import { absentPeer, isGranted, takeLease, waitingJob, workerRequest } from "./lease_work.ts";
import { catchesUp, exchange, follow, openStream, type RawMember, type StreamFate, trySend } from "./raw_member.ts";
import { dataset, type MemberCertificate, share, type VictimRole } from "./world.ts";

/** Who attempts an act, and on what. */
interface Attempt {
  readonly means: AttackMeans;
  readonly certificate: MemberCertificate;
  readonly member: RawMember;
  readonly connection: Connection;
}

/** Attempts an act; false where nothing of it came back. */
type Deed = (attempt: Attempt) => Promise<boolean>;

const api = "/hypha-api/0.0.1";

const asks = (request: (attempt: Attempt) => ApiRequest): Deed => async (attempt) =>
  await exchange(attempt.connection, api, encodeMessage(api, "request", request(attempt))) !== undefined;

const offer = (): ApiRequest => ({
  WorkerOffer: {
    id: freshId(),
    request_id: freshId(),
    price: 1,
    resources: share,
    timeout: { secs_since_epoch: Math.ceil(Date.now() / 1_000) + 5, nanos_since_epoch: 0 },
  },
});

const progress: Deed = async ({ connection }) => {
  const protocol = "/hypha-progress/0.0.1";
  const message = { job_id: freshId(), progress: "update" as const };
  return await exchange(connection, protocol, encodeMessage(protocol, "request", message)) !== undefined;
};

/** Opens a stream once the node speaks the protocol: a job takes files when its executor has started, on a busy machine after seconds. */
async function openOnceSpoken({ connection, means }: Attempt, protocol: string): Promise<StreamFate | undefined> {
  const end = performance.now() + means.actsWithinMs;
  while (connection.status === "open" && performance.now() < end) {
    const fate = await openStream(connection, protocol).catch(() => undefined);
    if (fate !== undefined) return fate;
    await pause(50);
  }
  return undefined;
}

/** Whether a stream brings anything, or takes all that is sent. */
const streams = (protocol: string, bytes: () => Uint8Array): Deed => async (attempt) => {
  const { means } = attempt;
  const fate = await openOnceSpoken(attempt, protocol);
  if (fate === undefined) return false;
  trySend(fate.stream, bytes());
  return !await holds(() => fate.end !== undefined, means.actsWithinMs) || fate.end !== "reset" || fate.received > 0;
};

/** Asks the gateway about its audit log. */
const provesLog: Deed = async ({ connection }) => {
  const protocol = "/hypha-audit/1";
  const message = { Prove: { origin: "attacked.hypha/audit/gateway/gateway-01", old: 0, new: null } };
  return await exchange(connection, protocol, encodeMessage(protocol, "request", message)) !== undefined;
};

const multihashOf = (peer: string): Uint8Array => base58btc.baseDecode(peer);

/** Publishes a record, then asks for it. */
const record: Deed = async ({ connection, member }) => {
  const key = new TextEncoder().encode(`data-of-${member.peer}`);
  const kept: KadRecord = {
    key,
    value: new TextEncoder().encode('{"num_slices":9}'),
    publisher: multihashOf(member.peer),
  };
  const question = { key, closer: [], providers: [] };
  const framed = (message: Parameters<typeof encodeKadMessage>[0]) => prefixLength(encodeKadMessage(message));
  await exchange(connection, kadProtocol, framed({ ...question, type: "PUT_VALUE", record: kept }));
  const answer = await exchange(connection, kadProtocol, framed({ ...question, type: "GET_VALUE" }));
  const message = answer === undefined ? undefined : decodeKadMessage(answer.subarray(answer[0]! > 0x7f ? 2 : 1));
  return message?._tag === "Success" && message.success.record !== undefined;
};

/** Asks for workers by gossip; whether the worker offers. */
const requests: Deed = async ({ certificate, connection, member }) => {
  let offered = false;
  await member.serve(api, (stream) => {
    follow(stream);
    offered = true;
  });
  await member.serve(foreignProtocols.gossip, () => {});
  const { stream } = await openStream(connection, foreignProtocols.gossip);
  trySend(stream, subscription(workerTopic));
  const author = { multihash: multihashOf(member.peer), key: createPrivateKey(certificate.identity.keyPem) };
  trySend(stream, publication(author, workerTopic, [encodeWorkerRequest(workerRequest())]));
  await catchesUp(connection);
  await pause(700); // the worker's window, and the way back
  return offered;
};

/** A worker takes files while a job waits for them. */
async function startJob(means: AttackMeans): Promise<void> {
  const { peer, address } = means.place;
  const friend = await means.friend("scheduler");
  await friend.dial(address);
  const spec = waitingJob(absentPeer(), friend.identity.peer);
  const id = await takeLease(friend, peer);
  if (!await isGranted(friend, peer, { DispatchJob: { id, spec } })) means.escaped("the job did not start");
}

/** How an act is attempted, and on which node. */
interface Way {
  readonly on: VictimRole;
  readonly deed: Deed;
  /** What has to be there first. */
  readonly first?: (means: AttackMeans) => Promise<void>;
}

/** How each act is attempted. */
const deeds: Readonly<Partial<Record<Act, Way>>> = {
  "lease.renew": { on: "worker", deed: asks(() => ({ RenewLease: { id: freshId() } })) },
  "job.dispatch": {
    on: "worker",
    deed: asks(({ means, member }) => ({
      DispatchJob: { id: freshId(), spec: waitingJob(means.place.peer, member.peer) },
    })),
  },
  "worker.request": { on: "worker", deed: requests },
  "worker.offer": { on: "scheduler", deed: asks(offer) },
  "job.status": {
    on: "scheduler",
    deed: asks(() => ({ JobStatus: { task_id: freshId(), status: { type: "Finished" } } })),
  },
  "progress": { on: "scheduler", deed: progress },
  "data.ask": { on: "scheduler", deed: asks(() => ({ Data: { dataset } })) },
  "slice.pull": {
    on: "data",
    deed: streams("/hypha-tensor-stream/pull", () => encodePullHeader({ dataset, index: 0 })),
  },
  "file.push": {
    on: "worker",
    first: startJob,
    deed: streams("/hypha-tensor-stream/push", () => new Uint8Array(1_000)),
  },
  "record.put": { on: "gateway", deed: record },
  "audit": { on: "gateway", deed: provesLog },
};

const roles = ["gateway", "scheduler", "worker", "data"] as const;

/** Every role that may not do an act attempts it. */
function attempts(act: Act, { on: target, deed, first }: Way): MemberAttack {
  const { allowedTo } = rowOf(act);
  return {
    id: `wrong-role-${act}`,
    target,
    expected: { acts: [act] },
    run: async (means) => {
      await first?.(means);
      const wrong = roles.filter((role) => allowedTo !== "member" && !allowedTo.includes(role));
      await Promise.all(wrong.map(async (role) => {
        means.attempts += 1;
        const certificate = await means.certificate(role);
        const member = await means.member(certificate);
        const connection = await member.connect(means.place.address);
        if (await deed({ means, certificate, member, connection })) means.escaped(`a ${role} did it`);
        if (connection.status !== "open") means.escaped(`a ${role} lost its connection for it`);
      }));
    },
  };
}

/** The attacks. */
export const actAttacks: readonly MemberAttack[] = (Object.keys(deeds) as Act[]).flatMap((act) => {
  const way = deeds[act];
  return way === undefined ? [] : [attempts(act, way)];
});
