/**
 * The processes of the attacks by members: nodes under attack, and attackers.
 *
 * @module
 */
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { RoleConfig } from "../../../actors/config/config.ts";
import { flagsOf, LineProcess } from "../line_process.ts";
import type { Assault } from "./attack.ts";
import { type AttackerCommand, ignoreLost, notNice, obey } from "./attacker.ts";
import type { MembersCounts, MembersFootprint, VictimCommand, VictimLine } from "./victim.ts";
import type { HostileAddresses } from "./hostile_places.ts";
import type { MembersPki, MembersWorld, VictimPlace } from "./world.ts";

/** A process answers within this, in milliseconds: at a load of 27 on two cores a node took more than 30 s to start. */
const answerMs = 120_000;
/** Longest that attacks may take, in milliseconds. */
const assaultMs = 15 * 60_000;
const graceMs = 3_000;
const scriptAt = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Nodes under attack that share a process. */
export class Victims {
  readonly #process: LineProcess;
  /** Lines of their logs, in order. */
  readonly lines: VictimLine[] = [];

  /** @param script Where they begin: that of this tree, or of one without defences. */
  constructor(runtime: "node" | "deno", program: string, script = scriptAt("victim.ts")) {
    const prefix = '{"line":';
    const unasked = (line: string) => {
      if (!line.startsWith(prefix)) return false;
      this.lines.push((JSON.parse(line) as { readonly line: VictimLine }).line);
      return true;
    };
    this.#process = new LineProcess(program, [...flagsOf(runtime), script], { unasked });
  }

  get exits(): number {
    return this.#process.exits;
  }

  /** Starts a node. */
  start(name: string, config: RoleConfig): Promise<VictimPlace> {
    return this.#ask({ type: "start", name, config });
  }

  footprint(): Promise<MembersFootprint> {
    return this.#ask({ type: "footprint" });
  }

  counts(): Promise<MembersCounts> {
    return this.#ask({ type: "counts" });
  }

  /** Waits for a line that fits. */
  async line(what: string, fits: (line: VictimLine) => boolean): Promise<VictimLine> {
    const end = performance.now() + answerMs;
    for (;;) {
      const found = this.lines.find(fits);
      if (found !== undefined) return found;
      if (performance.now() > end) {
        const said = this.lines.slice(-10).map(({ node, event, message }) => `${node} ${event}: ${message}`);
        throw new Error(`${what} was not seen within ${answerMs / 1_000} s:\n${said.join("\n")}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  #ask<Answer>(command: VictimCommand): Promise<Answer> {
    this.#process.send(JSON.stringify(command));
    return this.#process.next(answerMs);
  }

  /** The nodes take leave, and the process ends. */
  async stop(): Promise<void> {
    if (this.exits === 0) await this.#ask({ type: "drain" }).catch(() => {}); // it is killed then
    await this.#process.end(undefined, graceMs);
  }
}

/** The attackers. They run on Node, because a socket of Deno cannot choose its local address. */
export class MemberAttackers {
  readonly #obey: (command: AttackerCommand) => Promise<unknown>;
  /** They end. */
  readonly stop: () => Promise<void>;

  private constructor(
    { obey, stop }: {
      readonly obey: (command: AttackerCommand) => Promise<unknown>;
      readonly stop: () => Promise<void>;
    },
  ) {
    this.#obey = obey;
    this.stop = stop;
  }

  /** In a process of their own: what an honest member waits for does not depend on them. */
  static apart(node: string, priority: "lowest" | "as the nodes"): MemberAttackers {
    const flags = priority === "lowest" ? [] : [notNice];
    const process = new LineProcess(node, ["--no-warnings", scriptAt("attacker.ts"), ...flags]);
    const obey = (command: AttackerCommand) => {
      process.send(JSON.stringify(command));
      return process.next(assaultMs);
    };
    return new MemberAttackers({ obey, stop: () => process.end(undefined, graceMs) });
  }

  /** In this process, which costs less. */
  static here(): MemberAttackers {
    process.on("unhandledRejection", ignoreLost);
    const stop = () => {
      process.off("unhandledRejection", ignoreLost);
      return Promise.resolve();
    };
    return new MemberAttackers({ obey, stop });
  }

  /** Starts those that the nodes will dial. */
  prepare(pki: MembersPki): Promise<HostileAddresses> {
    return this.#ask({ type: "prepare", pki });
  }

  /** Tells them where the nodes are. */
  async meet(world: MembersWorld): Promise<void> {
    await this.#ask({ type: "world", world });
  }

  /** Runs attacks at the same time. */
  assail(ids: readonly string[], quick: boolean): Promise<readonly Assault[]> {
    return this.#ask({ type: "attack", ids, quick });
  }

  async leave(): Promise<void> {
    await this.#ask({ type: "leave" });
  }

  #ask<Answer>(command: AttackerCommand): Promise<Answer> {
    return this.#obey(command) as Promise<Answer>;
  }
}
