/**
 * One key with several certificates: what one proves does not count for the other.
 *
 * @module
 */
import type { Connection } from "@libp2p/interface";
import { type AttackMeans, holds, type MemberAttack, pause } from "./attack.ts";
import type { HonestMember } from "./honest.ts";
import { isGranted, takeLease, waitingJob } from "./lease_work.ts";
import type { MemberCertificate } from "./world.ts";

/** Connections that race a revocation at once: fewer than a node takes of one PeerID (8), however late it reads the list. */
const racedMax = 3;

/** A member of our own transport that shows a certificate, connected with the target. */
async function joins(means: AttackMeans, role: "scheduler" | "worker", certificate: MemberCertificate) {
  const member = await means.friend(role, { certificate });
  await member.dial(means.place.address);
  return member;
}

const isClosed = ({ facts }: HonestMember) => facts.some(({ type }) => type === "peer.closed");

/**
 * A scheduler's certificate is revoked while its key opens connections with it as fast as it can, and holds a lease; the key's
 * other certificate, a worker's, stays.
 */
const twoCertificates: MemberAttack = {
  id: "two-certificates-revoked",
  target: "worker",
  expected: { acts: ["lease.renew"], codes: ["certificate-revoked"] },
  run: async (means) => {
    const { peer, address } = means.place;
    const scheduler = await means.certificate("scheduler");
    const worker = await means.certificate("worker", scheduler.identity.keyPem);
    const first = await joins(means, "scheduler", scheduler);
    const other = await joins(means, "worker", worker);
    const id = await takeLease(first, peer);
    if (await isGranted(other, peer, { RenewLease: { id } })) means.escaped("another role renewed the lease");

    const racer = await means.member(scheduler);
    const open: Pick<Connection, "status" | "close">[] = [];
    let racing = true;
    const race = (async () => {
      while (racing) {
        means.attempts += 1;
        if (open.length === racedMax) await open.shift()?.close().catch(() => {});
        const connection = await racer.connect(address).catch(() => undefined);
        if (connection !== undefined) open.push(connection);
        await pause(means.pick(60, 25));
      }
    })();
    await means.revoke(scheduler);
    const ended = await holds(() => isClosed(first), means.actsWithinMs);
    if (!ended) means.escaped("the revoked certificate's connection goes on");
    await pause(means.pick(300, 3_000));
    racing = false;
    await race;
    if (!await holds(() => open.every(({ status }) => status !== "open"), means.actsWithinMs)) {
      means.escaped("a connection that began in the race goes on");
    }
    if (await isGranted(other, peer, { RenewLease: { id } })) means.escaped("the lease went to the key's other role");
    if (isClosed(other)) means.escaped("the other certificate's connection was closed too");
  },
};

/** A scheduler with a lease and a job gets a new certificate for its key, of another role, and leaves with the former one. */
const changedRole: MemberAttack = {
  id: "role-changed-by-renewal",
  target: "worker",
  expected: { acts: ["job.dispatch", "lease.renew"] },
  run: async (means) => {
    const { peer } = means.place;
    const scheduler = await means.certificate("scheduler");
    const first = await joins(means, "scheduler", scheduler);
    const id = await takeLease(first, peer);
    const dispatch = { DispatchJob: { id, spec: waitingJob(peer, first.identity.peer) } };
    if (!await isGranted(first, peer, dispatch)) means.escaped("the scheduler itself could not dispatch");
    const renewed = await joins(means, "worker", await means.certificate("worker", scheduler.identity.keyPem));
    const tries = async () => {
      means.attempts += 2;
      if (await isGranted(renewed, peer, { RenewLease: { id } })) means.escaped("the new role renewed the lease");
      if (await isGranted(renewed, peer, dispatch)) means.escaped("the new role dispatched");
    };
    await tries();
    if (!await isGranted(first, peer, { RenewLease: { id } })) {
      means.escaped("the lease of the former role was disturbed");
    }
    first.send({ type: "close", peer, reason: "it changes its role" });
    await pause(200);
    await tries();
  },
};

/** The attacks. */
export const certificateAttacks: readonly MemberAttack[] = [twoCertificates, changedRole];
