/**
 * The type of an attack by a member, and its means.
 *
 * @module
 */
import type { Act } from "../../../transport/authorization/acts.ts";
import type { Role } from "../../../pki/certificate.ts";
import type { HostilePlaces } from "./hostile_places.ts";
import { HonestMember } from "./honest.ts";
import { RawMember } from "./raw_member.ts";
import {
  crlsOf,
  crlsPathOf,
  issueMember,
  type MemberCertificate,
  type MembersWorld,
  type VictimRole,
} from "./world.ts";
import { writeFileSync } from "node:fs";

/** What the node under attack does to the attacker. */
interface MemberExpectation {
  /** Acts that it refuses the attacker, by `act.refused` lines: exactly these. */
  readonly acts?: readonly Act[];
  /** Codes with which it closes or refuses the attacker's connections: exactly these. */
  readonly codes?: readonly string[];
  /** As `codes`, but only an attack in full lasts long enough. */
  readonly codesInFull?: readonly string[];
}

/** The most that an attack may cost the node; judged in full runs only. */
interface MemberCost {
  /** How late its timers are, 99th percentile. */
  readonly lagP99Ms: number;
  /** What its resident memory grows by, at its peak. */
  readonly rssBytes: number;
  /** What of heap and external memory stays after a collection. */
  readonly memoryBytes: number;
}

/** One attack. */
export interface MemberAttack {
  readonly id: string;
  readonly target: VictimRole;
  readonly expected: MemberExpectation;
  readonly cost?: MemberCost;
  /** What nodes did to the attacker since their start counts: the attack began then. */
  readonly since?: "start";
  /** In a quick run the attacks of a group run at the same time; its target by default. */
  readonly group?: string;
  /**
   * It plays members of a training, which lose their part where they answer late: its process has the priority of the nodes, not the
   * lowest one of the others.
   */
  readonly keepsDeadlines?: true;
  /** Its traces stay: the attacks of its group come last in a quick run. */
  readonly comesLast?: true;
  /** Left out of one form of the run; in both by default. */
  readonly leftOutOf?: "quick" | "full";
  /** Attacks. The attackers stay until they are told to leave: what they hold is measured first. */
  run(means: AttackMeans): Promise<void>;
}

/** The result of one attack, as its attackers see it. */
export interface Assault {
  readonly id: string;
  readonly attempts: number;
  /** What the attack got. */
  readonly problems: readonly string[];
}

/** A control waits for a defence that is not there. */
const patienceMs = { defended: 30_000, control: 5_000 };

let lastAddress = 0;

/** Attackers' addresses: 127.0.1.1 to 127.0.20.250. */
function nextAddress(): string {
  const index = lastAddress++;
  return `127.0.${1 + Math.floor(index / 250) % 20}.${1 + index % 250}`;
}

const revoked: string[] = [];
let crlNumber = 1n;
let publishing: Promise<void> = Promise.resolve();

/** What the means are made with. */
interface AttackMeansInit {
  readonly world: MembersWorld;
  readonly places: HostilePlaces;
  readonly attack: MemberAttack;
  readonly quick: boolean;
}

/** The means of one attack. */
export class AttackMeans {
  readonly world: MembersWorld;
  readonly places: HostilePlaces;
  readonly id: string;
  readonly target: VictimRole;
  readonly quick: boolean;
  readonly problems: string[] = [];
  attempts = 0;
  readonly #members: { stop(): Promise<void> }[] = [];
  #certificates = 0;

  constructor({ world, places, attack: { id, target }, quick }: AttackMeansInit) {
    this.world = world;
    this.places = places;
    this.id = id;
    this.target = target;
    this.quick = quick;
  }

  /** A number that depends on the form of the run. */
  pick(quick: number, full: number): number {
    return this.quick ? quick : full;
  }

  /** A defence acts within this, in milliseconds: it is waited for no longer than it takes, and a busy machine takes many seconds. */
  get actsWithinMs(): number {
    return this.world.defended ? patienceMs.defended : patienceMs.control;
  }

  /** Where the target is. */
  get place() {
    return this.world.nodes[this.target];
  }

  /** Notes that the attack got something. */
  escaped(what: string): void {
    if (!this.problems.includes(what)) this.problems.push(what);
  }

  /** A certificate of the network. Lines about it name the attack: the name is `ID.NUMBER`, or another one. */
  certificate(role: Role | "none", keyPem?: string, name = `${this.id}.${++this.#certificates}`) {
    return issueMember(this.world, name, { role, keyPem });
  }

  /** A hostile member, at an address of its own. */
  async member(
    certificate: MemberCertificate,
    options: { readonly listens?: boolean; readonly from?: string } = {},
  ): Promise<RawMember> {
    const { identity } = certificate;
    const { from = nextAddress(), ...more } = options;
    const member = await RawMember.start({ identity, trustPem: this.world.root.certPem, from, ...more });
    this.#members.push(member);
    return member;
  }

  /** A hostile member of a role, connected with the target. */
  async intruder(role: Role) {
    const member = await this.member(await this.certificate(role));
    return { member, connection: await member.connect(this.place.address) };
  }

  /** A member with our own transport, which keeps to the rules of the wire. */
  async friend(
    role: Role,
    { certificate, ...more }: Partial<Omit<Parameters<typeof HonestMember.start>[0], "role" | "identity">> & {
      readonly certificate?: MemberCertificate;
    } = {},
  ): Promise<HonestMember> {
    const { identity } = certificate ?? await this.certificate(role, undefined, `friend.${this.id}`);
    const friend = await HonestMember.start({ role, identity, trustPem: this.world.root.certPem, ...more });
    this.#members.push(friend);
    return friend;
  }

  /** Revokes certificates: every node reads the new list. */
  revoke(...certificates: readonly MemberCertificate[]): Promise<void> {
    revoked.push(...certificates.map(({ serial }) => serial));
    publishing = publishing.then(async () =>
      writeFileSync(crlsPathOf(this.world), await crlsOf(this.world, revoked, ++crlNumber))
    );
    return publishing;
  }

  async leave(): Promise<void> {
    await Promise.all(this.#members.map((member) => member.stop()));
  }
}

/** Waits. */
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until something holds; whether it did within the time. */
export async function holds(look: () => boolean, withinMs: number): Promise<boolean> {
  const end = performance.now() + withinMs;
  while (!look()) {
    if (performance.now() > end) return false;
    await pause(10);
  }
  return true;
}
