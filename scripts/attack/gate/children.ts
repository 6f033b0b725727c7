/**
 * The processes of a siege: the node under attack, and its attackers.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { flagsOf, LineProcess } from "../line_process.ts";
import { notNice } from "./attacker.ts";
import type { Footprint } from "./victim.ts";

const answerMs = 120_000;
const graceMs = 3_000;
const scriptAt = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** The node under attack. */
export class Victim {
  readonly #process: LineProcess;

  /** @param file Its setup; see `victim.ts`. */
  constructor(runtime: "node" | "deno", program: string, file: string, timeoutMs: number) {
    this.#process = new LineProcess(program, [...flagsOf(runtime), scriptAt("victim.ts"), file, String(timeoutMs)]);
  }

  get exits(): number {
    return this.#process.exits;
  }

  /** Its first line, when it listens. */
  started(): Promise<{ readonly addresses: readonly string[] }> {
    return this.#process.next(answerMs);
  }

  /** Makes it dial. Returns `let in`, or the code of the refusal. */
  dial(address: string): Promise<string> {
    this.#process.send(`dial ${address}`);
    return this.#process.next(answerMs);
  }

  footprint(): Promise<Footprint> {
    this.#process.send("footprint");
    return this.#process.next(answerMs);
  }

  stop(): Promise<void> {
    return this.#process.end("stop", graceMs);
  }
}

/** Longest that one assault may take, in milliseconds. */
const assaultMs = 15 * 60_000;

/** The attackers. They run on Node, because a socket of Deno cannot choose its local address. */
export class Attackers {
  readonly #process: LineProcess;

  /**
   * @param file Their world; see `attacker.ts`.
   * @param priority The lowest one where an honest peer's time is measured. On a busy machine it makes handshakes later than the deadline.
   */
  constructor(node: string, file: string, priority: "lowest" | "as the node") {
    const flags = priority === "lowest" ? [] : [notNice];
    this.#process = new LineProcess(node, ["--no-warnings", scriptAt("attacker.ts"), file, ...flags]);
  }

  /** Attacks `count` times. Returns the forbidden results. */
  async assail(id: string, count: number): Promise<readonly string[]> {
    this.#process.send(JSON.stringify({ id, count }));
    const { problems } = await this.#process.next<{ readonly problems: readonly string[] }>(assaultMs);
    return problems;
  }

  stop(): Promise<void> {
    return this.#process.end(undefined, graceMs);
  }
}
