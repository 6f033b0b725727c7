/**
 * What happens in a run about membership: a CA, nodes that join by token and renew their certificates, and troubles.
 *
 * @module
 */
import { randomOf } from "../../runtime/random.ts";
import { ceremoniesOf, type CeremonyPlan } from "./approvers.ts";

/** Kinds of trouble that a seed shuffles. */
const shuffledKinds = [
  "ca-away",
  "ca-killed",
  "ca-full",
  "ca-skew",
  "ca-lossy",
  "token-raced",
  "token-stolen",
  "fork",
  "impostor",
  "list-withheld",
  "list-garbled",
  "list-equivocating",
  "list-lost",
  "odd-lists",
  "skew",
  "install-killed",
  "node-killed",
  "node-full",
  "cut",
] as const;
/** Kinds of trouble about membership. The last is drawn by itself: no seed of the others changes by it. */
export const memberFaultKinds = [...shuffledKinds, "overreach"] as const;
export type MemberFaultKind = (typeof memberFaultKinds)[number];
/** Troubles with the token that has the CA's key, and with those of nodes' identities: drawn where they are asked for. */
export const tokenFaultKinds = ["token-hangs", "token-gone"] as const;
export const identityFaultKinds = ["identity-hangs", "identity-gone"] as const;
export type TokenFaultKind = (typeof tokenFaultKinds)[number] | (typeof identityFaultKinds)[number];
/** Every run has a revocation. */
export type MemberTroubleKind = MemberFaultKind | TokenFaultKind | "revoke-name" | "revoke-serial";

/** One thing that happens. */
export interface MemberEvent {
  /** Milliseconds after the start. */
  readonly at: number;
  readonly kind: MemberTroubleKind;
  /** A node's name. */
  readonly target: string;
  /** Its duration, in milliseconds. */
  readonly forMs: number;
  /** A number in [0, 1) that the kind makes a size or a choice of. */
  readonly amount: number;
}

/** A node. */
export interface MemberPlan {
  readonly name: string;
  readonly role: "gateway" | "worker" | "data";
  /** Where the key of its identity is: in a token where it says so, and certificates for TLS come for its signature. */
  readonly identity?: "hardware";
  /** Whether a renewal makes another key. */
  readonly key: "same" | "new";
  readonly crls: "required" | "optional";
  /** Whether it fetches lists from the CA. */
  readonly fetches: boolean;
  /** When it joins, in milliseconds after the start. */
  readonly joinsAt: number;
}

/** All of a run. */
export interface MemberScenario {
  readonly seed: number;
  readonly nodes: readonly MemberPlan[];
  readonly events: readonly MemberEvent[];
  /** How long certificates live, in milliseconds. */
  readonly lifeMs: number;
  /** Revocations of earlier times. */
  readonly entries: number;
  /** Trouble ends by then, in milliseconds. */
  readonly troubleMs: number;
  /** Operations that persons approve; none where undefined. */
  readonly ceremonies?: readonly CeremonyPlan[];
  /** Then everything has this long to recover, in milliseconds. */
  readonly quietMs: number;
}

const minuteMs = 60_000;
/** Lives of certificates, in minutes. */
const lives = [6, 7, 9, 12, 18] as const;
/** Entries of earlier times; with none, lists travel along with their announcements; with the most, as a base and its delta. */
const entries = [0, 0, 40, 150, 1_200] as const;
/** Trouble begins when all have joined, in milliseconds. */
const joinedMs = 45_000;
/** After the last trouble everything recovers within this, in milliseconds. */
const recoverMs = 6 * minuteMs;

/** What is drawn. */
export interface MemberScenarioOptions {
  readonly faults?: readonly MemberFaultKind[] | undefined;
  /** Whether persons approve some operations: drawn from a stream of its own. */
  readonly approvals?: boolean | undefined;
  /** Whether the CA's key, and the identities of some nodes, are in tokens that hang and vanish: drawn from streams of their own. */
  readonly hardware?: boolean | undefined;
}

/** The scenario of a seed. */
export function memberScenarioOf(
  seed: number,
  { faults, approvals, hardware }: MemberScenarioOptions = {},
): MemberScenario {
  const random = randomOf(seed, "membership");
  const lifeMs = random.pick(lives) * minuteMs;
  const drawn = nodesOf(random);
  const nodes = hardware === true ? withIdentities(randomOf(seed, "hardware nodes"), drawn) : drawn;
  const troubleMs = Math.max(10 * minuteMs, 2.2 * lifeMs);
  const kinds: readonly MemberFaultKind[] = faults ?? random.shuffle(shuffledKinds).slice(0, random.whole(3, 7));
  const others = nodes.filter(({ name }) => name !== "gateway-1");
  const eventOf = (kind: MemberTroubleKind, from: readonly MemberPlan[]): MemberEvent => ({
    kind,
    at: random.whole(joinedMs, troubleMs - minuteMs),
    target: random.pick(from).name,
    forMs: durationOf(kind, random, lifeMs),
    amount: random.next(),
  });
  const events = [
    eventOf(random.chance(0.7) ? "revoke-name" : "revoke-serial", others),
    ...kinds.flatMap((kind) => Array.from({ length: random.whole(1, 3) }, () => eventOf(kind, targetsOf(kind, nodes)))),
    ...(faults === undefined ? overreachOf(randomOf(seed, "overreach"), nodes, troubleMs) : []),
    ...(hardware === true ? tokenFaultsOf(randomOf(seed, "hardware"), troubleMs) : []),
    ...(hardware === true ? identityFaultsOf(randomOf(seed, "identities"), nodes, troubleMs) : []),
  ];
  return {
    seed,
    nodes,
    events: events.toSorted((left, right) => left.at - right.at),
    lifeMs,
    entries: random.pick(entries),
    troubleMs,
    quietMs: recoverMs,
    ...(approvals === true ? { ceremonies: ceremoniesOf(randomOf(seed, "approvals"), troubleMs) } : {}),
  };
}

/** A part of the seeds has it, once. */
const overreachShare = 0.3;

function overreachOf(
  random: ReturnType<typeof randomOf>,
  nodes: readonly MemberPlan[],
  troubleMs: number,
): readonly MemberEvent[] {
  if (!random.chance(overreachShare)) return [];
  const at = random.whole(joinedMs, troubleMs - minuteMs);
  return [{ kind: "overreach", at, target: random.pick(nodes).name, forMs: 2_000, amount: random.next() }];
}

/** The token is away two to four times. */
function tokenFaultsOf(random: ReturnType<typeof randomOf>, troubleMs: number): readonly MemberEvent[] {
  return Array.from({ length: random.whole(2, 4) }, () => ({
    kind: random.pick(tokenFaultKinds),
    at: random.whole(joinedMs / 10, troubleMs - minuteMs),
    target: "gateway-1",
    forMs: random.whole(5_000, 4 * minuteMs),
    amount: random.next(),
  }));
}

/** About half of the nodes have their identities in tokens. */
function withIdentities(random: ReturnType<typeof randomOf>, nodes: readonly MemberPlan[]): readonly MemberPlan[] {
  return nodes.map((plan) => random.chance(0.5) ? { ...plan, identity: "hardware" } : plan);
}

/** Some of those tokens are away, once or twice. */
function identityFaultsOf(
  random: ReturnType<typeof randomOf>,
  nodes: readonly MemberPlan[],
  troubleMs: number,
): readonly MemberEvent[] {
  const others = nodes.filter(({ identity }) => identity === "hardware");
  if (others.length === 0) return [];
  return Array.from({ length: random.whole(1, 4) }, () => ({
    kind: random.pick(identityFaultKinds),
    at: random.whole(joinedMs / 10, troubleMs - minuteMs),
    target: random.pick(others).name,
    forMs: random.whole(5_000, 4 * minuteMs),
    amount: random.next(),
  }));
}

function nodesOf(random: ReturnType<typeof randomOf>): readonly MemberPlan[] {
  const gateways = random.whole(1, 3);
  const others = random.whole(2, 6);
  const plan = (name: string, role: MemberPlan["role"], joinsAt: number): MemberPlan => ({
    name,
    role,
    key: random.chance(0.5) ? "new" : "same",
    crls: random.chance(0.6) ? "required" : "optional",
    fetches: role === "gateway" || random.chance(0.3),
    joinsAt,
  });
  return [
    ...Array.from({ length: gateways }, (_, index) => plan(`gateway-${index + 1}`, "gateway", 1_000 + 200 * index)),
    ...Array.from(
      { length: others },
      (_, index) =>
        plan(`${index === 0 ? "data" : "worker"}-${index + 1}`, index === 0 ? "data" : "worker", 6_000 + 400 * index),
    ),
  ];
}

function targetsOf(kind: MemberFaultKind, nodes: readonly MemberPlan[]): readonly MemberPlan[] {
  const wanted = (of: (plan: MemberPlan) => boolean) => {
    const found = nodes.filter(of);
    return found.length > 0 ? found : nodes;
  };
  switch (kind) {
    case "list-withheld":
      return wanted(({ role }) => role === "gateway");
    case "fork":
    case "token-raced":
    case "token-stolen":
      return wanted(({ role }) => role !== "gateway");
    case "list-lost":
      // One that requires lists and fetches none stays off the network, rightly.
      return wanted(({ fetches, crls }) => fetches || crls === "optional");
    case "list-equivocating":
      return wanted(({ fetches }) => fetches);
    default:
      return nodes;
  }
}

function durationOf(kind: MemberTroubleKind, random: ReturnType<typeof randomOf>, lifeMs: number): number {
  switch (kind) {
    case "ca-away":
      return random.chance(0.5) ? random.whole(5_000, 60_000) : random.whole(minuteMs, Math.min(60 * minuteMs, lifeMs));
    case "ca-full":
    case "ca-lossy":
    case "list-withheld":
    case "list-garbled":
    case "impostor":
      return random.whole(20_000, 4 * minuteMs);
    default:
      return random.whole(2_000, 50_000);
  }
}
