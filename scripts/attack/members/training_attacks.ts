/**
 * Workers that lie about trainings, and updates that go where they do not belong.
 *
 * @module
 */
import { encodeMessage } from "../../../transport/protocols/mod.ts";
import { type AttackMeans, holds, type MemberAttack } from "./attack.ts";
import { freshId } from "./fresh_id.ts";
import { isGranted, takeLease, waitingJob } from "./lease_work.ts";
import { exchange, openStream, trySend } from "./raw_member.ts";
import type { Progress } from "../../../transport/protocols/messages.ts";

const progressProtocol = "/hypha-progress/0.0.1";
const api = "/hypha-api/0.0.1";

/** Reports of every kind. */
const reports: readonly Progress[] = [
  { status: { batch_size: 1_000_000 } },
  { metrics: { round: 1, metrics: { loss: -1 } } },
  "update",
  "updated",
  "update-received",
];

/** A worker without a job reports progress, the end of a job, and asks for slices. */
const lyingReport: MemberAttack = {
  id: "lying-report",
  target: "scheduler",
  expected: {},
  run: async (means) => {
    const { connection } = await means.intruder("worker");
    const questions = [
      ...reports.map((progress) =>
        [progressProtocol, encodeMessage(progressProtocol, "request", { job_id: freshId(), progress })] as const
      ),
      [
        api,
        encodeMessage(api, "request", { JobStatus: { task_id: freshId(), status: { type: "Finished" } } }),
      ] as const,
      [api, encodeMessage(api, "request", { Data: { dataset: "digits" } })] as const,
    ];
    for (const [protocol, bytes] of questions) {
      means.attempts += 1;
      if (await exchange(connection, protocol, bytes) !== undefined) means.escaped(`${protocol}: it was answered`);
    }
  },
};

/** Pushes of a worker that no job names, to a worker whose job waits for updates of another. */
const uninvited: MemberAttack = {
  id: "uninvited-updates",
  target: "worker",
  expected: {},
  run: async (means) => {
    const { peer } = means.place;
    const friend = await means.friend("scheduler");
    await friend.dial(means.place.address);
    const id = await takeLease(friend, peer);
    const job = waitingJob(freshPeer(means), friend.identity.peer);
    if (!await isGranted(friend, peer, { DispatchJob: { id, spec: job } })) means.escaped("the job did not start");
    const { connection } = await means.intruder("worker");
    for (const protocol of ["/hypha-tensor-stream/push", "/hypha-tensor-stream/push/2"]) {
      means.attempts += 1;
      const fate = await openStream(connection, protocol).catch(() => undefined);
      if (fate === undefined) continue;
      trySend(fate.stream, new Uint8Array(100_000));
      if (!await holds(() => fate.end === "reset", 2_000)) means.escaped(`${protocol}: it was taken`);
    }
  },
};

/** A worker that the job names, and that never connects. */
const freshPeer = (means: AttackMeans): string => means.world.nodes.data.peer;

/** The attacks. */
export const trainingAttacks: readonly MemberAttack[] = [lyingReport, uninvited];
