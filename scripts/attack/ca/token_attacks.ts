/**
 * Attacks with tokens.
 *
 * @module
 */
import { formatToken, makeToken, parseToken } from "../../../actors/ca/token.ts";
import { Result } from "effect";
import { type CaAttack, inParallel, note } from "./attack.ts";
import { type CaWorld, honestAddress, makeCsr } from "./world.ts";

const secondMs = 1_000;

/** The honest node's token still gives its certificate. */
async function checkUnused(world: CaWorld, token: string, loot: { issued: number; readonly problems: string[] }) {
  const { csr } = await makeCsr("any");
  const { code } = await world.enrol(token, csr, { localAddress: honestAddress });
  if (code === "ok") loot.issued += 1;
  else loot.problems.push(`the token was used up: ${code}`);
}

export const tokenAttacks: readonly CaAttack[] = [
  {
    id: "token-expired",
    count: { full: 50, quick: 4 },
    expected: ["token-expired"],
    async run(world, count, loot) {
      const token = await world.token(world.name(), { lifetime_s: 1 });
      const { csr } = await makeCsr("any");
      await new Promise((resolve) => setTimeout(resolve, secondMs + 100));
      await inParallel(count, (index) => note(loot, world.enrol(token, csr, { localAddress: world.addressOf(index) })));
    },
  },
  {
    id: "token-with-another-key",
    count: { full: 50, quick: 4 },
    expected: ["token-used"],
    alarm: "ca.alarm.token-used",
    async run(world, count, loot) {
      const { token } = await world.member();
      loot.issued += 1;
      await inParallel(count, async (index) => {
        await note(loot, world.enrol(token, (await makeCsr("any")).csr, { localAddress: world.addressOf(index) }));
      });
    },
  },
  {
    id: "token-of-another-ca",
    count: { full: 50, quick: 4 },
    expected: ["token-foreign"],
    async run(world, count, loot) {
      const { csr } = await makeCsr("any");
      await inParallel(count, (index) => {
        const token = formatToken(makeToken({ anchor: "ab".repeat(32), url: world.url }));
        return note(loot, world.enrol(token, csr, { localAddress: world.addressOf(index) }));
      });
    },
  },
  {
    id: "token-one-bit-changed",
    count: { full: 2_000, quick: 20 },
    expected: ["token-malformed", "token-foreign", "token-unknown", "status-400", "closed"],
    async run(world, count, loot) {
      const token = await world.token(world.name());
      const { csr } = await makeCsr("any");
      await inParallel(count, (index) => {
        const at = (index * 7) % token.length;
        const changed = String.fromCharCode(token.charCodeAt(at) ^ (1 << (index % 7)));
        const text = token.slice(0, at) + changed + token.slice(at + 1);
        // What no header can carry is not sent at all.
        if (!/^[\x21-\x7e]+$/.test(text)) return note(loot, Promise.resolve({ code: "closed" }));
        return note(loot, world.enrol(text, csr, { localAddress: world.addressOf(index) }));
      });
      await checkUnused(world, token, loot);
    },
  },
  {
    id: "token-guessed",
    count: { full: 10_000, quick: 40 },
    expected: ["token-unknown"],
    async run(world, count, loot) {
      const token = await world.token(world.name());
      const { id, anchor, url } = Result.getOrThrow(parseToken(token));
      const { csr } = await makeCsr("any");
      await inParallel(count, (index) => {
        const guess = formatToken({ ...makeToken({ anchor, url }), id });
        return note(loot, world.enrol(guess, csr, { localAddress: world.addressOf(index) }));
      });
      await checkUnused(world, token, loot);
    },
  },
  {
    id: "token-guessed-from-one-address",
    count: { full: 1_000, quick: 30 },
    // Where the machine is fast enough, the port's own limit of connections of one address closes some before.
    expected: ["token-unknown", "too-many-failures", "closed"],
    async run(world, count, loot) {
      const { anchor, url } = Result.getOrThrow(parseToken(await world.token(world.name())));
      const { csr } = await makeCsr("any");
      await inParallel(
        count,
        () => note(loot, world.enrol(formatToken(makeToken({ anchor, url })), csr, { localAddress: "127.0.201.1" })),
      );
      // Ten failures, and those that were under way with the tenth.
      if ((loot.codes.get("token-unknown") ?? 0) > 20) loot.problems.push("the address was not limited");
    },
  },
  {
    id: "one-token-and-key-at-once",
    count: { full: 16, quick: 8 },
    expected: ["ok"],
    async run(world, count, loot) {
      const token = await world.token(world.name());
      const { csr } = await makeCsr("any");
      const bodies = new Set<string>();
      await Promise.all(
        Array.from({ length: count }, (_, index) =>
          note(
            loot,
            world.enrol(token, csr, { localAddress: world.addressOf(index) }).then((reply) => {
              bodies.add(reply.body.toString("latin1"));
              return reply;
            }),
          )),
      );
      loot.issued += 1;
      if (bodies.size !== 1) loot.problems.push(`${bodies.size} certificates for one key`);
    },
  },
  {
    id: "one-token-and-many-keys-at-once",
    count: { full: 16, quick: 8 },
    expected: ["ok", "token-used"],
    alarm: "ca.alarm.token-used",
    async run(world, count, loot) {
      const token = await world.token(world.name());
      const requests = await Promise.all(Array.from({ length: count }, () => makeCsr("any")));
      await Promise.all(
        requests.map(({ csr }, index) => note(loot, world.enrol(token, csr, { localAddress: world.addressOf(index) }))),
      );
      loot.issued += 1;
      if (loot.codes.get("ok") !== 1) loot.problems.push(`${loot.codes.get("ok") ?? 0} keys were certified`);
    },
  },
];
