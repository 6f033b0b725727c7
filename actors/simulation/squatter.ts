/**
 * A squatter: a member that may not publish data sets, and publishes the key of the run's data set before its publisher does. It
 * goes on, so that it is first again at a gateway that restarted, and answers look-ups in its own name and in a stranger's.
 *
 * @module
 */
import { kadProtocol, type WireConnection } from "../../transport/core/wire.ts";
import { encodeRecordResponse, recordProtocol } from "../../transport/protocols/record_message.ts";
import type { PeerText } from "../../transport/port.ts";
import type { Checker } from "./checker.ts";
import { answering, askForRecord, datasetKey, liarsValue, multihashOf, put } from "./forged_records.ts";
import type { HostileMember } from "./hostile_member.ts";
import type { Simulation } from "./simulation.ts";

/** It begins when gateways do, before a data node can; publishes so often; and leaves after this. In milliseconds. */
const beginsMs = 25;
const everyMs = 700;
const stayMs = 40_000;

/** What it may be, beside what may publish. */
export const squatterRoles = ["worker", "scheduler", "gateway"] as const;

/** What it is made with. */
export interface SquatterInit {
  readonly sim: Simulation;
  readonly checker: Checker;
  readonly member: HostileMember;
  /** A publisher that no authority knows. */
  readonly stranger: PeerText;
}

/** A member of another role that publishes first. */
export class Squatter {
  readonly #init: SquatterInit;

  constructor(init: SquatterInit) {
    this.#init = init;
  }

  begin(): void {
    const { sim, member } = this.#init;
    this.#answer();
    const gateways = [...sim.nodes.values()].filter(({ role }) => role === "gateway");
    const ways = new Map<string, WireConnection>();
    for (let at = beginsMs; at < stayMs; at += everyMs) {
      sim.after(at, () => {
        for (const { name, address } of gateways) {
          const way = ways.get(name);
          if (way?.isOpen === true) this.#publish(name, way);
          else {
            member.dial(address, (opened) => {
              ways.set(name, opened);
              this.#publish(name, opened);
            });
          }
        }
      });
    }
    sim.after(stayMs, () => member.stop());
  }

  #publish(gateway: string, way: WireConnection): void {
    const { member, checker } = this.#init;
    const record = { key: datasetKey, value: liarsValue, publisher: multihashOf(member.peer) };
    askForRecord(member, way, put(record), (kept) => {
      if (kept !== undefined) {
        checker.violate("record-owner", gateway, `kept a record of ${member.peer}, which may not`);
      }
    });
  }

  /** It or the stranger is the publisher, by its own word. */
  #answer(): void {
    const { stranger, member: { hostile, peer } } = this.#init;
    let answers = 0;
    for (const protocol of [kadProtocol, recordProtocol]) hostile.wire.serve(protocol);
    hostile.onOffered = (_, stream) => {
      if (stream.protocol === recordProtocol) {
        return {
          data: () => {},
          ended: () => stream.end(encodeRecordResponse({ value: liarsValue })),
          closed: () => {},
        };
      }
      if (stream.protocol !== kadProtocol) return undefined;
      return answering(stream, ({ type, key }) => {
        if (type !== "GET_VALUE" || key === undefined) return undefined;
        const publisher = answers++ % 2 === 0 ? stranger : peer;
        const record = { key, value: liarsValue, publisher: multihashOf(publisher) };
        return { type, key, record, closer: [], providers: [] };
      });
    };
  }
}
