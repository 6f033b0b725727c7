/**
 * Schedulers that keep a worker's resources in offers which they never accept.
 *
 * @module
 */
import { type AttackMeans, type MemberAttack, pause } from "./attack.ts";
import type { HonestMember } from "./honest.ts";
import { askForOffer, workerRequest } from "./lease_work.ts";

/** A worker listens to a scheduler twice a second. */
const betweenAsksMs = 550;
/** A scheduler takes offers for this long after its request (`docs/wire.md`, "Allocation"). */
const offersWithinMs = 5_000;

/** Requests the whole worker with the highest bid, acknowledges each offer and accepts none. */
export function hoard(by: HonestMember): { readonly asked: () => number; stop(): Promise<void> } {
  let [asked, isGoing] = [0, true];
  const loop = (async () => {
    while (isGoing) {
      asked += 1;
      const next = pause(betweenAsksMs);
      await askForOffer(by, { request: workerRequest({ bid: 1_000_000, parts: 32 }), withinMs: betweenAsksMs });
      await next;
    }
  })();
  return {
    asked: () => asked,
    stop: () => {
      isGoing = false;
      return loop;
    },
  };
}

/** How long each of some requests waited for its offer, in milliseconds; those that got one in time. */
export async function offersTo(by: HonestMember, asks: number, parts = 1): Promise<readonly number[]> {
  const waits: number[] = [];
  for (let nth = 0; nth < asks; nth++) {
    await pause(betweenAsksMs);
    const begun = performance.now();
    const offer = await askForOffer(by, { request: workerRequest({ parts }), withinMs: offersWithinMs });
    if (offer !== undefined) waits.push(performance.now() - begun);
  }
  return waits;
}

async function connected(
  means: AttackMeans,
  options: Parameters<AttackMeans["friend"]>[1] = {},
): Promise<HonestMember> {
  const member = await means.friend("scheduler", options);
  await member.dial(means.place.address);
  return member;
}

const auction: MemberAttack = {
  id: "auction-of-a-hoarder",
  target: "worker",
  group: "auction",
  expected: {},
  run: async (means) => {
    const honest = await connected(means);
    const hoarders = await Promise.all(
      Array.from(
        { length: means.pick(1, 3) },
        async () => await connected(means, { certificate: await means.certificate("scheduler") }),
      ),
    );
    if ((await offersTo(honest, 4)).length === 0) throw new Error("an honest scheduler gets no offer in quiet times");
    const hoards = hoarders.map(hoard);
    const asks = means.pick(3, 10);
    const waits = await offersTo(honest, asks, 32);
    await Promise.all(hoards.map((one) => one.stop()));
    means.attempts += hoards.reduce((sum, { asked }) => sum + asked(), 0);
    if (waits.length < Math.ceil(0.9 * asks)) {
      means.escaped(`an honest scheduler got ${waits.length} offers for ${asks} requests`);
    }
  },
};

/** The attacks. */
export const auctionAttacks: readonly MemberAttack[] = [auction];
