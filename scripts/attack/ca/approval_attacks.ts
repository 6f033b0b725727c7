/**
 * A process of the operator's own user on the admin socket of a CA whose gateways wait for two of three persons: it has at most one of
 * their keys.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { openApprovalsMax } from "../../../actors/ca/approval_rows.ts";
import { composeApproval } from "../../../pki/approval/approval.ts";
import { sha256 } from "../../../pki/approval/canonical_line.ts";
import { type CaAttack, inParallel, type Loot, note } from "./attack.ts";
import { siegePolicy, siegeSigners } from "./approvers.ts";
import { type CaWorld, makeCsr } from "./world.ts";

interface Waiting {
  readonly id: string;
  /** Its line. */
  readonly request: string;
  readonly token: string;
  readonly csr: Uint8Array;
}

/** A gateway that has asked, and one true approval of its request. */
async function waiting(world: CaWorld): Promise<Waiting> {
  const name = world.name();
  const token = await world.token(name, { role: "gateway" });
  const { csr } = await makeCsr(name);
  await world.enrol(token, csr, { localAddress: world.addressOf(0) });
  const { body } = await world.operate("POST /ca/requests", {});
  const { id } = (body as { readonly approvals: readonly { readonly id: string }[] }).approvals.at(-1)!;
  const shown = await world.operate("POST /ca/request", { id });
  const { request } = shown.body as { readonly request: string };
  const { alice } = await siegeSigners;
  await world.operate("POST /ca/approve", { id, approval: await composeApproval(sha256(request), alice) });
  return { id, request, token, csr };
}

/** After the attack: the gateway has no certificate yet. */
async function stillWaits(world: CaWorld, { token, csr, id }: Waiting, loot: Loot): Promise<void> {
  const { code } = await world.enrol(token, csr, { localAddress: world.addressOf(20) });
  if (code !== "request-pending") loot.problems.push(`the gateway got ${code}`);
  await world.operate("POST /ca/decide", { id, decision: "denied" });
}

type Forge = (waiting: Waiting, index: number) => Promise<{ readonly id: string; readonly approval: string }>;

const forged = (id: string, expected: readonly string[], forge: Forge): CaAttack => ({
  id,
  count: { full: 500, quick: 6 },
  expected,
  run: async (world, count, loot) => {
    const request = await waiting(world);
    await inParallel(
      count,
      (index) => note(loot, forge(request, index).then((body) => world.operate("POST /ca/approve", body))),
    );
    await stillWaits(world, request, loot);
  },
});

/** Changes one bit of a signature. */
function withFlippedBit(approval: string, index: number): string {
  const fields = JSON.parse(approval) as Record<string, string>;
  const signature = Buffer.from(fields["signature"]!, "base64");
  signature[index % signature.length]! ^= 1 << (index % 8);
  return JSON.stringify({ ...fields, signature: signature.toString("base64") });
}

const swapped = async (request: string, by: "alice" | "mallory") => {
  const { bob, ...others } = await siegeSigners;
  const fields = JSON.parse(await composeApproval(sha256(request), others[by])) as Record<string, string>;
  return JSON.stringify({ ...fields, approver: sha256(bob.spki()) });
};

/** Requests of a flood: so many more than wait at most. */
const overflow = 20;

export const approvalAttacks: readonly CaAttack[] = [
  forged("approval-by-a-stranger", ["approval-refused"], async ({ id, request }) => ({
    id,
    approval: await composeApproval(sha256(request), (await siegeSigners).mallory),
  })),
  forged("approval-in-anothers-name", ["approval-refused"], async ({ id, request }, index) => ({
    id,
    approval: await swapped(request, index % 2 === 0 ? "alice" : "mallory"),
  })),
  forged("approval-changed", ["approval-refused"], async ({ id, request }, index) => ({
    id,
    approval: withFlippedBit(await composeApproval(sha256(request), (await siegeSigners).bob), index),
  })),
  forged("approval-twice", ["approval-refused"], async ({ id, request }) => ({
    id,
    approval: await composeApproval(sha256(request), (await siegeSigners).alice),
  })),
  forged("approval-of-another-request", ["approval-refused", "request-unknown"], async ({ id }, index) => ({
    id: index % 2 === 0 ? id : randomBytes(8).toString("hex"),
    approval: await composeApproval(sha256(randomBytes(32)), (await siegeSigners).bob),
  })),
  {
    id: "approval-around",
    count: { full: 500, quick: 6 },
    expected: ["approvals-required", "approvers-refused"],
    run: async (world, count, loot) => {
      const request = await waiting(world);
      const policy = (await siegePolicy()).line.replace('"threshold":2', '"threshold":1');
      await inParallel(count, (index) =>
        note(
          loot,
          index % 2 === 0
            ? world.operate("POST /ca/decide", { id: request.id, decision: "approved" })
            : world.operate("POST /ca/approvers", { policy }),
        ));
      await stillWaits(world, request, loot);
    },
  },
  {
    id: "approval-requests-flood",
    count: { full: openApprovalsMax + 1_000, quick: openApprovalsMax + overflow },
    expected: ["status-200", "too-many-requests"],
    run: async (world, count, loot) => {
      const { line } = await siegePolicy();
      const ids: string[] = [];
      await inParallel(count, (index) => {
        // The same one would be one request.
        const policy = line.replace('"name":"carol"', `"name":"carol-${index}"`);
        const asked = world.operate("POST /ca/change-approvers", { policy });
        return note(
          loot,
          asked.then((answer) => {
            if (answer.code === "status-200") ids.push((answer.body as { readonly id: string }).id);
            return answer;
          }),
        );
      });
      if (ids.length > openApprovalsMax) loot.problems.push(`${ids.length} requests wait`);
      await inParallel(ids.length, (index) => world.operate("POST /ca/decide", { id: ids[index], decision: "denied" }));
    },
  },
];
