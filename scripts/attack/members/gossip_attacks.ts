/**
 * Gossip of authors that there are not, and requests for workers that shut others out.
 *
 * @module
 */
import type { Connection } from "@libp2p/interface";
import { encodeWorkerRequest } from "../../../transport/protocols/mod.ts";
import { workerTopic } from "../../../transport/protocols/messages.ts";
import { type AttackMeans, type MemberAttack, pause } from "./attack.ts";
import type { HonestMember } from "./honest.ts";
import { foreignProtocols, madeUpAuthor, publication, subscription } from "./foreign_messages.ts";
import { askForOffer, workerRequest } from "./lease_work.ts";
import { openStream, trySend, whileItRuns } from "./raw_member.ts";

/** An honest scheduler that gets offers, and how many of some further requests get one. */
async function honestScheduler(means: AttackMeans): Promise<(asks: number) => Promise<number>> {
  const friend = await means.friend("scheduler");
  await friend.dial(means.place.address);
  await untilOffered(friend);
  return async (asks) => {
    let offers = 0;
    for (let nth = 0; nth < asks; nth++) {
      await pause(betweenAsksMs);
      if (await askForOffer(friend, { withinMs: 5_000 }) !== undefined) offers += 1;
    }
    return offers;
  };
}

/** Gossip has to learn first who subscribes. */
async function untilOffered(member: HonestMember): Promise<void> {
  const end = performance.now() + 60_000;
  const asked = new Set<string>();
  while (await askForOffer(member, { withinMs: 1_000, asked }) === undefined) {
    if (performance.now() > end) throw new Error("a member gets no offer in quiet times");
  }
}

/** A worker listens to a scheduler twice a second. */
const betweenAsksMs = 600;

/** Hands on requests of authors without certificates: each would be dialled to find out who it is. */
const madeUpAuthors: MemberAttack = {
  id: "gossip-of-made-up-authors",
  target: "worker",
  leftOutOf: "quick",
  group: "auction",
  expected: {},
  run: async (means) => {
    const offersFor = await honestScheduler(means);
    const { member, connection } = await means.intruder("worker");
    await member.serve(foreignProtocols.gossip, () => {});
    const { stream } = await openStream(connection, foreignProtocols.gossip);
    trySend(stream, subscription(workerTopic));
    let going = true;
    const flood = (async () => {
      while (going && stream.status === "open") {
        means.attempts += 1;
        const request = encodeWorkerRequest(workerRequest({ bid: 1_000_000, parts: 32 }));
        trySend(stream, publication(madeUpAuthor(), workerTopic, [request]));
        await pause(2);
      }
    })();
    const asks = means.pick(2, 10);
    const offers = await offersFor(asks);
    going = false;
    await flood;
    if (offers < asks * means.pick(0.3, 0.9)) {
      means.escaped(`an honest scheduler got ${offers} offers for ${asks} requests`);
    }
  },
};

/** A member floods requests for the whole worker at a price that no other member bids. It accepts no offer. */
const bids: MemberAttack = {
  id: "bids-of-a-worker-that-starve",
  target: "worker",
  group: "auction",
  expected: { acts: ["worker.request"] },
  run: async (means) => {
    const offersFor = await honestScheduler(means);
    const bidder = await means.friend("worker", { certificate: await means.certificate("worker") });
    await bidder.dial(means.place.address);
    await pause(300); // gossip learns who subscribes
    let going = true;
    const flood = (async () => {
      while (going) {
        means.attempts += 1;
        await askForOffer(bidder, { request: workerRequest({ bid: 1_000_000, parts: 32 }), withinMs: 20 });
      }
    })();
    const asks = means.pick(2, 10);
    const offers = await offersFor(asks);
    going = false;
    await flood;
    if (offers < asks * means.pick(0.3, 0.9)) {
      means.escaped(`an honest scheduler got ${offers} offers for ${asks} requests`);
    }
  },
};

/** Many members at the address of an honest one (a NAT, a relay): its gossip counts all the same. */
const neighbours: MemberAttack = {
  id: "neighbours-at-one-address",
  target: "worker",
  group: "neighbours",
  comesLast: true, // without a defence they shut out honest members, also after they have left
  expected: {},
  run: async (means) => {
    const offersFor = await honestScheduler(means);
    let last: Connection | undefined;
    for (let left = means.pick(16, 60); left > 0; left--) {
      means.attempts += 1;
      const member = await means.member(await means.certificate("worker"), { from: "127.0.0.1" });
      await member.serve(foreignProtocols.gossip, () => {});
      last = await member.connect(means.place.address);
    }
    if (last !== undefined) await whileItRuns(last, 2_000); // gossip judges its peers once a second
    const asks = means.pick(2, 10);
    const offers = await offersFor(asks);
    if (offers < asks * means.pick(0.3, 0.9)) {
      means.escaped(`an honest scheduler got ${offers} offers for ${asks} requests`);
    }
  },
};

/** The attacks. */
export const gossipAttacks: readonly MemberAttack[] = [madeUpAuthors, neighbours, bids];
