/**
 * A node that joins by a token, runs, and joins again when its operator got another token for it. `join` is what the command does:
 * the machine of enrolment, then the lists, then the first start.
 *
 * @module
 */
import { type Actor, type AnyActorRef } from "xstate";
import { Effect, Exit } from "effect";
import { Result } from "effect";
import { defaultPolicy } from "../../../pki/trust.ts";
import { toHex } from "../../../pki/bytes.ts";
import { parseToken } from "../../ca/token.ts";
import { certificatesOf } from "../../enrolment/ca_trust.ts";
import { enrolmentMachine } from "../../enrolment/enrolment.ts";
import { enrolmentFiles, type EnrolmentStore } from "../../enrolment/enrolment_store.ts";
import { fetchLists } from "../../enrolment/fetch_lists.ts";
import type { GivenToken } from "../../enrolment/obtain.ts";
import type { Ports } from "../../runtime/ports.ts";
import { superviseRoot } from "../../runtime/supervise.ts";
import { randomOf } from "../../runtime/random.ts";
import type { SimulatedNode } from "../node.ts";
import { NodeClock } from "../node_clock.ts";
import { nodePaths } from "../node_config.ts";
import type { Simulation } from "../simulation.ts";
import { makeVirtualRun } from "../virtual_run.ts";
import type { IdentityToken } from "./identity_token.ts";
import { drawnKeys } from "./member_machines.ts";
import type { MemberPlan } from "./member_scenario.ts";
import { caUrl } from "./simulated_ca.ts";
import type { VirtualWeb } from "./virtual_web.ts";

/** The operator runs `join` again after this, in milliseconds. */
const againMs = 10_000;

/** What a member is made with. */
export interface MemberInit {
  readonly sim: Simulation;
  readonly web: VirtualWeb;
  readonly node: SimulatedNode;
  readonly plan: MemberPlan;
  /** `join` was refused for good. */
  readonly onRefused: (member: Member, code: string) => void;
  /** The token with the key of its identity, where it has one. */
  readonly identity?: IdentityToken | undefined;
  /** The node's first process of a certificate is about to start. */
  readonly onJoined: (member: Member) => void;
}

/** The token as a node has it. */
export function givenToken(text: string): GivenToken {
  const { id, anchor, url } = Result.getOrThrow(parseToken(text));
  return { id: typeof id === "string" ? id : toHex(id), text, anchor, url };
}

/** A node's certificate and key, as a thief copies them. */
export interface CopiedPair {
  readonly certPem: string;
  readonly keyPem: string;
}

/** What lies on a node's disk. */
export function pairOf({ node: { disk } }: Member): CopiedPair | undefined {
  const cert = disk.read(nodePaths.cert), key = disk.read(nodePaths.key);
  if (cert === undefined || key === undefined) return undefined;
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { certPem: text(cert), keyPem: text(key) };
}

/** A node and its operator. */
export class Member {
  readonly node: SimulatedNode;
  readonly plan: MemberPlan;
  readonly #init: MemberInit;
  #token: string | undefined;
  #join: { readonly clock: NodeClock; readonly actor: AnyActorRef } | undefined;
  #joins = 0;
  isJoined = false;

  constructor(init: MemberInit) {
    this.#init = init;
    this.node = init.node;
    this.plan = init.plan;
  }

  get name(): string {
    return this.plan.name;
  }

  /** The token with the key of its identity; undefined where its certificates have their own keys. */
  get identity(): IdentityToken | undefined {
    return this.#init.identity;
  }

  get isJoining(): boolean {
    return this.#join !== undefined;
  }

  /** Its operator has a token, and runs `join` on a host whose node is stopped and whose pair is moved away. */
  join(token: string): void {
    this.#token = token;
    this.isJoined = false;
    this.node.crash(true);
    this.#stop();
    for (const path of [nodePaths.cert, nodePaths.key, nodePaths.identity]) this.node.disk.remove(path);
    this.#begin();
  }

  /** The process ends: that of `join`, or the node's. */
  kill(politely: boolean): void {
    this.#stop();
    this.node.crash(politely);
  }

  /** What was killed starts again. */
  restart(): void {
    if (this.node.isRunning || this.#join !== undefined) return;
    if (this.isJoined) this.node.start();
    else if (this.#token !== undefined) this.#begin();
  }

  #stop(): void {
    this.#join?.clock.stop();
    this.#join = undefined;
  }

  #begin(): void {
    const { sim, web } = this.#init;
    const { node } = this;
    const clock = new NodeClock(sim.time, node.skewMs);
    const name = `${node.name}/join/${++this.#joins}`;
    const random = randomOf(sim.seed, `random/${name}`);
    const ports: Ports = {
      now: () => clock.now(),
      random: random.next,
      uuid: randomOf(sim.seed, `ids/${name}`).uuid,
      report: ({ level, event, message }) => sim.note("report", node.name, `${level} ${event} ${message}`),
      run: makeVirtualRun({ clock, disk: node.disk.service, random: random.next }),
    };
    const files = enrolmentFiles({
      certPem: nodePaths.cert,
      keyPem: nodePaths.key,
      trustPem: nodePaths.trust,
      stateDir: nodePaths.state,
      identityPem: this.identity === undefined ? undefined : nodePaths.identity,
    });
    const { ask } = web.of(node.name, clock);
    const store: EnrolmentStore = { ...files, forgetNext: Effect.void };
    const token = givenToken(this.#token ?? "");
    const actor: Actor<typeof enrolmentMachine> = superviseRoot(enrolmentMachine, {
      id: "join",
      clock: clock.machine,
      input: {
        ...{ ports, ask, store, token, keys: drawnKeys(`${sim.seed}/${name}`) },
        ...{ role: this.plan.role, policy: defaultPolicy, hardware: this.identity?.of(clock) },
        membership: { ca: [caUrl], renew: false, key: "same", newKeyEveryMs: undefined },
      },
      onError: (error) => sim.watches.forEach((watch) => watch.crash?.(node, error)),
    });
    const mine = { clock, actor };
    this.#join = mine;
    let isSeen = false;
    actor.subscribe((snapshot) => {
      const isRefused = snapshot.matches("failed");
      if (isSeen || this.#join !== mine || !(isRefused || snapshot.matches("resting"))) return;
      isSeen = true;
      if (isRefused) return this.#refused(clock, snapshot.context.error?.code ?? "internal");
      this.#fetch(clock, ports, files, ask);
    });
  }

  #refused(clock: NodeClock, code: string): void {
    const { sim, onRefused } = this.#init;
    sim.note("report", this.name, `join refused ${code}`);
    onRefused(this, code);
    clock.after(againMs, () => this.#again(clock));
  }

  #again(clock: NodeClock): void {
    if (this.#join?.clock !== clock) return;
    this.#stop();
    this.#begin();
  }

  #fetch(clock: NodeClock, ports: Ports, files: EnrolmentStore, ask: Parameters<typeof fetchLists>[1]["ask"]): void {
    const fetch = Effect.gen(function* () {
      const { certPem, trustPem } = yield* files.read;
      const [chain, cas] = [certificatesOf(certPem ?? ""), certificatesOf(trustPem ?? "")];
      const missing = yield* fetchLists(cas, { chain, ask, url: caUrl, stateDir: nodePaths.state });
      yield* files.forgetNext;
      return missing;
    });
    ports.run(fetch, (exit) => {
      if (Exit.isFailure(exit) || exit.value.length > 0) {
        return void clock.after(againMs, () => this.#again(clock));
      }
      this.#stop();
      this.isJoined = true;
      this.#init.onJoined(this);
      this.node.start();
    });
  }
}
