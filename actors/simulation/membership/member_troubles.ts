/**
 * Makes the troubles of a run about membership.
 *
 * @module
 */
import { certsOnly } from "../../ca/est_bodies.ts";
import { skewMaxMs } from "./ledger.ts";
import type { LinkedWorld } from "./member_world.ts";
import type { MemberEvent, MemberTroubleKind } from "./member_scenario.ts";
import { type Member, pairOf } from "./member.ts";
import { announceOdd, equivocate, garble, withhold } from "./list_troubles.ts";
import { overreach } from "./overreach.ts";
import { caHost } from "./simulated_ca.ts";
import { Thief } from "./thief.ts";
import { derOf } from "./virtual_web.ts";

/** Who has a copy of a pair uses it so long after its revocation began, in milliseconds. */
const hauntMs = 3_000;
/** Steps of the CA, and renames of a node, among which one ends the process. */
const caStepsMax = 4;
const renamesMax = 5;

type Make = (world: LinkedWorld, event: MemberEvent, member: Member) => void;

/** Makes an event's trouble now. */
export function makeTrouble(world: LinkedWorld, event: MemberEvent): void {
  const member = world.members.get(event.target);
  if (member === undefined) return;
  const { sim } = world;
  sim.note("fault", event.target, `${event.kind} for ${event.forMs} ms`);
  world.injected.set(event.kind, (world.injected.get(event.kind) ?? 0) + 1);
  makers[event.kind](world, event, member);
}

const makers: Readonly<Record<MemberTroubleKind, Make>> = {
  "revoke-name": (world, _, member) => {
    world.cutOff(member);
    haunt(world, member);
    world.revoke({ name: world.identityOf(member) }, () => world.ledger.ended(world.identityOf(member)));
  },
  "revoke-serial": (world, _, member) => {
    const serial = world.ledger.firstOf(member.name)?.serial;
    if (serial === undefined) return;
    world.cutOff(member);
    haunt(world, member);
    world.revoke({ serial }, () => world.ledger.checkLine(serial));
  },
  "ca-away": ({ ca, sim }, { forMs }) => {
    ca.kill();
    sim.after(forMs, () => ca.start());
  },
  "ca-killed": ({ ca, sim }, { forMs, amount }) =>
    ca.killAfter(1 + Math.floor(amount * caStepsMax), () => sim.after(forMs, () => ca.start())),
  "ca-full": ({ ca, sim }, { forMs }) => {
    ca.isFull = true;
    sim.after(forMs, () => ca.isFull = false);
  },
  "ca-skew": ({ ca, sim }, { forMs, amount }) => {
    ca.skewMs = Math.round((2 * amount - 1) * skewMaxMs);
    sim.after(forMs, () => ca.skewMs = 0);
  },
  "ca-lossy": ({ web, sim }, { forMs, amount }) => {
    web.loss = 0.2 + 0.4 * amount;
    sim.after(forMs, () => web.loss = 0);
  },
  "token-hangs": (world, { forMs }) => takeToken(world, "hangs", forMs),
  "token-gone": (world, { forMs }) => takeToken(world, "gone", forMs),
  "identity-hangs": (world, { forMs }, member) => takeIdentity(world, member, { state: "hangs", forMs }),
  "identity-gone": (world, { forMs }, member) => takeIdentity(world, member, { state: "gone", forMs }),
  "token-raced": (world, { amount }, member) => steal(world, member, Math.floor(amount * 40)),
  "token-stolen": (world, _, member) => steal(world, member, -2_000),
  fork: (world, _, member) => fork(world, member),
  impostor: (world, event, member) => standBetween(world, event, member),
  overreach,
  "list-withheld": withhold,
  "list-garbled": garble,
  "list-equivocating": equivocate,
  "list-lost": (world, { forMs, amount }, member) => {
    world.stop(member, forMs, false);
    // Half of the time the marks go with them: the node is as new.
    if (amount < 0.5) world.checker.lostMarks(member.node);
    const isLost = (path: string) => path.endsWith(".crl") || (amount < 0.5 && path.endsWith("/crl_marks.json"));
    for (const path of member.node.disk.paths) if (isLost(path)) member.node.disk.remove(path);
  },
  "odd-lists": announceOdd,
  skew: ({ checker, sim, scenario }, { forMs, amount }, { node, name }) => {
    checker.disturb(name, forMs);
    node.skewMs = Math.round((2 * amount - 1) * Math.min(skewMaxMs, scenario.lifeMs / 10));
    sim.after(forMs, () => node.skewMs = 0);
  },
  "install-killed": (world, { forMs, amount }, member) => {
    let left = 1 + Math.floor(amount * renamesMax);
    member.node.disk.moved = (to) => {
      const isOfPair = to.startsWith("/etc/hypha/") || to.endsWith("/enrolment.json");
      if (!isOfPair || --left > 0) return;
      member.node.disk.moved = () => {};
      world.stop(member, forMs, true);
      throw new Error("the process was killed");
    };
  },
  "node-killed": (world, { forMs, amount }, member) => world.stop(member, forMs, amount < 0.5),
  "node-full": ({ checker, sim }, { forMs }, { node, name }) => {
    checker.excuse(name, forMs);
    node.disk.full = true;
    sim.after(forMs, () => node.disk.full = false);
  },
  cut: (world, { forMs, amount }, member) => {
    const { members, sim, checker } = world;
    const others = amount < 0.3 ? [caHost] : [caHost, ...members.keys()].filter((name) => name !== member.name);
    for (const other of others) {
      checker.disturb(other, forMs);
      sim.network.cut(member.name, other);
      sim.network.cut(other, member.name);
    }
    checker.disturb(member.name, forMs);
    sim.after(forMs, () => {
      for (const other of others) {
        sim.network.heal(member.name, other);
        sim.network.heal(other, member.name);
      }
    });
  },
};

/** The token that has the CA's key cannot be used for so long. */
function takeToken({ ca, sim }: LinkedWorld, state: "hangs" | "gone", forMs: number): void {
  ca.keyToken.state = state;
  sim.after(forMs, () => ca.keyToken.state = "there");
}

/** The token of a node's identity cannot be used for so long. */
function takeIdentity(
  { checker, sim }: LinkedWorld,
  { name, identity }: Member,
  { state, forMs }: { readonly state: "hangs" | "gone"; readonly forMs: number },
): void {
  if (identity === undefined) return;
  checker.disturb(name, forMs);
  identity.state = state;
  sim.after(forMs, () => identity.state = "there");
}

/** Its operator makes a token for a node, and a thief has it too: so much later or, where negative, earlier than the node. */
function steal(world: LinkedWorld, member: Member, afterMs: number): void {
  if (!member.isJoined || world.checker.gone.has(member.name)) return;
  const { sim, web } = world;
  world.checker.gone.add(member.name);
  world.renewToken(member, (token) => {
    const thief = new Thief(sim, web, world.thieves++);
    const use = () =>
      thief.ask({ token }, (got) => {
        if (got === undefined) return;
        world.bit.add("token-stolen");
        thief.connect(got, world.gateway.node.address);
      });
    if (afterMs < 0) {
      use();
      return sim.after(-afterMs, () => member.join(token));
    }
    member.join(token);
    sim.after(afterMs, use);
  });
}

/** A thief has the pair of a node that is being revoked: he connects with it, and tries to renew it. */
function haunt(world: LinkedWorld, member: Member): void {
  const pair = pairOf(member);
  const [der] = pair === undefined ? [] : derOf(pair.certPem);
  if (pair === undefined || der === undefined) return;
  const thief = new Thief(world.sim, world.web, world.thieves++);
  const credential = { ...pair, chainPem: pair.certPem, der, name: thief.name, serial: "" };
  world.sim.after(hauntMs, () => thief.connect(credential, world.gateway.node.address));
}

/** A thief has a node's pair, and renews it for a key of its own. */
function fork(world: LinkedWorld, member: Member): void {
  const { sim, web } = world;
  const pair = pairOf(member);
  if (pair === undefined || world.checker.gone.has(member.name)) return;
  const thief = new Thief(sim, web, world.thieves++);
  thief.ask({ pair }, (got) => {
    if (got !== undefined) thief.connect(got, world.gateway.node.address);
  });
}

/** A member of the domain answers in the CA's place, with its own certificate; half of the time the node has a token to lose. */
function standBetween(world: LinkedWorld, { forMs, amount }: MemberEvent, member: Member): void {
  const { sim, web, findings, checker } = world;
  const other = [...world.members.values()].find((each) => each !== member && each.isJoined);
  const identity = other === undefined ? undefined : pairOf(other);
  if (other === undefined || identity === undefined) return;
  const cas = [sim.authority.intermediate, sim.authority.root].flatMap(({ certPem }) => derOf(certPem));
  checker.disturb(member.name, forMs);
  web.impostors.set(member.name, {
    host: other.name,
    identity: () => identity,
    answer: ({ path, authorization }) => {
      if (authorization !== undefined) findings.violate("secret-kept", member.name, `its token went to ${other.name}`);
      const isAnchors = path.endsWith("/cacerts");
      return Promise.resolve({ status: isAnchors ? 200 : 404, headers: {}, body: isAnchors ? certsOnly(cas) : "" });
    },
  });
  sim.after(forMs, () => web.impostors.delete(member.name));
  if (amount < 0.5 || !member.isJoined || checker.gone.has(member.name)) return;
  checker.gone.add(member.name);
  world.renewToken(member, (token) => member.join(token));
}
