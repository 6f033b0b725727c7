/**
 * Somebody with a token or a pair of another node, and a key of his own.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Effect, Result } from "effect";
import { formatPem } from "../../../pki/pem.ts";
import { readCertsOnly } from "../../enrolment/certs_only.ts";
import type { Credential } from "../authority.ts";
import { HostileMember } from "../hostile_member.ts";
import type { Simulation } from "../simulation.ts";
import { drawnKeys } from "./member_machines.ts";
import { caUrl } from "./simulated_ca.ts";
import type { VirtualWeb } from "./virtual_web.ts";

/** How often it does what keeps it in, in milliseconds. */
const stayMs = 45_000;

/** What a thief has. */
export type Loot = { readonly token: string } | {
  readonly pair: { readonly certPem: string; readonly keyPem: string };
};

/** A thief. */
export class Thief {
  readonly name: string;
  readonly #sim: Simulation;
  readonly #web: VirtualWeb;
  readonly #number: number;

  constructor(sim: Simulation, web: VirtualWeb, number: number) {
    this.#sim = sim;
    this.#web = web;
    this.#number = number;
    this.name = `thief-${number}`;
  }

  /** Asks the CA for a certificate about a key of his own. */
  ask(loot: Loot, done: (got: Credential | undefined) => void, known?: string): void {
    const keys = drawnKeys(`${this.#sim.seed}/${this.name}`);
    const keyPem = known ?? Effect.runSync(keys.make);
    const { body } = Effect.runSync(keys.request(keyPem));
    const isToken = "token" in loot;
    this.#web.send(this.name, {
      origin: caUrl,
      judge: () => undefined,
      pair: isToken ? undefined : loot.pair,
      request: {
        method: "POST",
        path: `/.well-known/est/${isToken ? "simpleenroll" : "simplereenroll"}`,
        authorization: isToken ? `Bearer ${loot.token}` : undefined,
        ifNoneMatch: undefined,
        body: Buffer.from(body),
      },
    }, (outcome) => {
      const status = Result.isSuccess(outcome) ? String(outcome.success.status) : outcome.failure.code;
      this.#sim.note("fault", this.name, `was answered ${status}`);
      if (Result.isFailure(outcome) || outcome.success.status !== 200) return done(undefined);
      const read = readCertsOnly(outcome.success.body);
      const [leaf] = Result.isSuccess(read) ? read.success : [];
      if (leaf === undefined) return done(undefined);
      const certPem = formatPem("CERTIFICATE", leaf.der);
      const chainPem = certPem + this.#sim.authority.intermediate.certPem;
      done({ name: this.name, der: Uint8Array.from(leaf.der), certPem, keyPem, chainPem, serial: leaf.serial });
    });
  }

  /** Connects with a certificate, and stays: it connects again, and renews what it has. */
  connect(credential: Credential, address: string): HostileMember {
    const member = new HostileMember({ sim: this.#sim, credential, number: 500 + this.#number });
    member.dial(address);
    let pair = credential;
    const stay = () => {
      this.ask({ pair: { certPem: pair.certPem, keyPem: pair.keyPem } }, (next) => {
        if (next !== undefined) member.show(pair = next);
        if (member.open.length === 0) member.dial(address);
      }, pair.keyPem);
      this.#sim.after(stayMs, stay);
    };
    this.#sim.after(stayMs, stay);
    return member;
  }
}
