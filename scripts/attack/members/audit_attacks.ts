/**
 * Members that ask for proofs without end, answer with giant ones, forge another node's checkpoints, or show two logs.
 *
 * @module
 */
import { originOf } from "../../../actors/audit/checkpoint.ts";
import { bindKey } from "../../../actors/audit/key_binding.ts";
import { keyOf } from "../../../actors/simulation/authority.ts";
import { KeptLog } from "../../../actors/simulation/kept_log.ts";
import type { AuditHead, AuditRequest, AuditResponse } from "../../../transport/protocols/messages.ts";
import { auditHeadsMax, encodeMessage } from "../../../transport/protocols/mod.ts";
import { type AttackMeans, holds, type MemberAttack, pause } from "./attack.ts";
import type { HonestMember } from "./honest.ts";
import { exchange } from "./raw_member.ts";
import { type MemberCertificate, nodeName } from "./world.ts";

const protocol = "/hypha-audit/1";
/** The gateway asks a new member within this, in milliseconds; a busy machine takes longer than the gateway's period. */
const askedWithinMs = 30_000;
/** A tenth of a core, a second's worth at once, at 8 ms each: what a member may have answered. */
const answersMax = (ms: number) => 2 * (1_000_000 + 100 * ms) / 8_000;

const originOfMember = (name: string) => originOf(`spiffe://attacked.hypha/gateway/${name}`);

/** A gateway with a log, connected with the target; it answers as it is told to. */
class Owner {
  readonly log: KeptLog;
  readonly origin: string;
  readonly certificate: MemberCertificate;
  readonly member: HonestMember;
  /** Requests that it answered. */
  asked = 0;
  #seen = 0;

  private constructor(member: HonestMember, certificate: MemberCertificate) {
    this.member = member;
    this.certificate = certificate;
    this.origin = originOfMember(certificate.identity.name);
    this.log = new KeptLog(this.origin, keyOf("attack", this.origin));
    for (let record = 0; record < 20; record++) this.log.append(`record ${record}`);
    this.log.cover();
  }

  static async start(means: AttackMeans, answer: (owner: Owner) => AuditResponse): Promise<Owner> {
    const certificate = await means.certificate("gateway");
    const owner = new Owner(await means.friend("gateway", { certificate }), certificate);
    owner.member.send({ type: "serve", protocol });
    const timer = setInterval(() => owner.#answerAll(answer), 10);
    timer.unref();
    await owner.member.dial(means.place.address);
    return owner;
  }

  head(log: KeptLog = this.log): AuditHead {
    const { note: checkpoint, key } = log.newest()!;
    return { checkpoint, ...bindKey(this.certificate.identity, key)! };
  }

  /** Waits until the target has its answer: it has read what comes before an answer about its health. */
  async isRead({ place }: AttackMeans): Promise<void> {
    await this.member.request(place.peer, "/hypha-health/0.0.1", {});
    await pause(200);
  }

  #answerAll(answer: (owner: Owner) => AuditResponse): void {
    const facts = this.member.facts.slice(this.#seen);
    this.#seen += facts.length;
    for (const fact of facts) {
      if (fact.type !== "request.received" || fact.protocol !== protocol) continue;
      const message = answer(this);
      this.member.send({ type: "respond", exchange: fact.exchange, message });
      this.asked += 1;
    }
  }
}

const honestly = (owner: Owner): AuditResponse => ({ Proof: { head: owner.head(), path: [] } });

/** A gateway tells the target states of another one's log, signed by a key of its own, or changed. */
const forgedCheckpoints: MemberAttack = {
  id: "forged-checkpoints",
  target: "gateway",
  expected: {},
  run: async (means) => {
    const owner = await Owner.start(means, honestly);
    if (!await holds(() => owner.asked > 0, askedWithinMs)) {
      means.escaped("nothing was attacked: the log is not witnessed");
    }
    await owner.isRead(means);
    const forger = await Owner.start(means, honestly);
    const own = new KeptLog(owner.origin, keyOf("attack", "forger"));
    own.append("another record");
    own.cover();
    const { note: checkpoint, key } = own.newest()!;
    const binding = bindKey(forger.certificate.identity, key)!;
    const real = owner.head();
    const heads: readonly AuditHead[] = [
      { checkpoint, ...binding },
      { checkpoint, ...binding, chain: real.chain },
      { ...real, checkpoint },
      { ...real, checkpoint: real.checkpoint.replace("\n20\n", "\n10\n") },
    ];
    for (const head of heads) {
      const answer = await forger.member.request(means.place.peer, protocol, { Held: [head] });
      means.attempts += 1;
      if (answer === undefined) means.escaped("nothing was attacked: it was not answered");
      await pause(means.pick(50, 1_100));
    }
  },
};

/** A gateway shows another log than before. */
const logShownTwice: MemberAttack = {
  id: "log-shown-twice",
  target: "gateway",
  expected: { codes: ["audit-fork"] },
  run: async (means) => {
    const owner = await Owner.start(means, honestly);
    if (!await holds(() => owner.asked > 0, askedWithinMs)) {
      means.escaped("nothing was attacked: the log is not witnessed");
    }
    await owner.isRead(means);
    const second = owner.log.fork(10);
    second.cover();
    const teller = await Owner.start(means, honestly);
    means.attempts += 1;
    await teller.member.request(means.place.peer, protocol, { Held: [owner.head(second)] });
    const another = owner.log.fork(19);
    another.append("another record");
    another.cover();
    await pause(1_200);
    await teller.member.request(means.place.peer, protocol, { Held: [owner.head(another)] });
    await pause(200);
  },
};

/** A gateway answers with as many hashes as an answer takes. */
const giantProofs: MemberAttack = {
  id: "giant-proofs",
  target: "gateway",
  expected: {},
  run: async (means) => {
    const path = Array.from({ length: means.pick(60_000, 120_000) }, () => new Uint8Array(32));
    const owners = await Promise.all(
      Array.from(
        { length: 2 },
        () => Owner.start(means, (owner) => ({ Proof: { head: owner.head(), path } })),
      ),
    );
    if (!await holds(() => owners.every(({ asked }) => asked > 0), askedWithinMs)) {
      means.escaped("nothing was attacked: no node was asked");
    }
    means.attempts += owners.reduce((sum, { asked }) => sum + asked, 0);
  },
};

/** A gateway asks for proofs, and tells states, as fast as it can. */
const endlessProofs: MemberAttack = {
  id: "endless-proofs",
  target: "gateway",
  expected: {},
  run: async (means) => {
    const forMs = means.pick(1_500, 15_000);
    const { connection } = await means.intruder("gateway");
    const teller = await Owner.start(means, honestly);
    const prove: AuditRequest = { Prove: { origin: originOfMember(nodeName("gateway")), old: 1, new: null } };
    const held: AuditRequest = { Held: Array.from({ length: auditHeadsMax }, () => teller.head()) };
    const requests = [prove, held].map((request) => encodeMessage(protocol, "request", request));
    const began = performance.now();
    means.attempts += 1;
    const first = await exchange(connection, protocol, requests[0]!, askedWithinMs);
    if (first === undefined) means.escaped("nothing was attacked: nothing was answered");
    let answered = 1;
    const end = performance.now() + forMs;
    const one = async (bytes: Uint8Array) => {
      while (connection.status === "open" && performance.now() < end) {
        means.attempts += 1;
        if (await exchange(connection, protocol, bytes, 1_000) === undefined) await pause(5);
        else answered += 1;
      }
    };
    await Promise.race([
      Promise.all(Array.from({ length: 16 }, (_, nth) => one(requests[nth % 2]!))),
      pause(forMs + 500),
    ]);
    if (answered > answersMax(performance.now() - began)) means.escaped(`${answered} requests were answered`);
  },
};

/** The attacks. */
export const auditAttacks: readonly MemberAttack[] = [forgedCheckpoints, logShownTwice, giantProofs, endlessProofs];
