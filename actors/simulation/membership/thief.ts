/**
 * Somebody with a token or a pair of another node, and a key of his own.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, sign } from "node:crypto";
import { Effect, Result } from "effect";
import { constructed, integer, oid, sequence, setOfOne } from "../../../pki/issue/der_writer.ts";
import { encodeExtensions, subjectAltName } from "../../../pki/issue/extensions.ts";
import type { GeneralName } from "../../../pki/issue/general_name.ts";
import { extensionRequestOid } from "../../../pki/issue/issue_csr.ts";
import { readSigningKey } from "../../../pki/issue/signing_key.ts";
import { formatPem } from "../../../pki/pem.ts";
import { readCertsOnly } from "../../enrolment/certs_only.ts";
import { requestOf } from "../../enrolment/make_csr.ts";
import type { Credential } from "../authority.ts";
import { HostileMember } from "../hostile_member.ts";
import type { Simulation } from "../simulation.ts";
import { drawnKeys } from "./member_machines.ts";
import { caUrl } from "./simulated_ca.ts";
import type { VirtualWeb } from "./virtual_web.ts";

/** How often it does what keeps it in, in milliseconds. */
const stayMs = 45_000;

/** A request for names of its own choice. */
export function requestFor(keyPem: string, wishes: readonly GeneralName[]): string {
  const key = readSigningKey(keyPem);
  const attribute = sequence(oid(extensionRequestOid), setOfOne(encodeExtensions([subjectAltName(wishes)])));
  const info = sequence(integer(0), sequence(), key.spki, constructed(0, attribute));
  return requestOf(key, info, sign(null, Buffer.from(info), createPrivateKey(keyPem))).body;
}

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
  ask(
    loot: Loot,
    done: (got: Credential | undefined) => void,
    { keyPem: known, wishes = [] }: { readonly keyPem?: string; readonly wishes?: readonly GeneralName[] } = {},
  ): void {
    const keys = drawnKeys(`${this.#sim.seed}/${this.name}`);
    const keyPem = known ?? Effect.runSync(keys.make);
    const body = wishes.length > 0 ? requestFor(keyPem, wishes) : Effect.runSync(keys.request(keyPem)).body;
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
      }, { keyPem: pair.keyPem });
      this.#sim.after(stayMs, stay);
    };
    this.#sim.after(stayMs, stay);
    return member;
  }
}
