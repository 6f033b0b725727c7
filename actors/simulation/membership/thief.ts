/**
 * An attacker that has a token or the pair of another node, and a key of its own.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, sign } from "node:crypto";
import { Effect, Result } from "effect";
import { constructed, integer, oid, sequence, setOfOne } from "../../../pki/issue/der_writer.ts";
import { encodeExtensions, subjectAltName } from "../../../pki/issue/extensions.ts";
import type { GeneralName } from "../../../pki/issue/general_name.ts";
import { composeEnrolment } from "../../../pki/enrolment_jws.ts";
import { fileSigner } from "../../../pki/issue/mod.ts";
import { extensionRequestOid } from "../../../pki/issue/issue_csr.ts";
import { readSigningKey } from "../../../pki/issue/signing_key.ts";
import { formatPem } from "../../../pki/pem.ts";
import { readCertsOnly } from "../../enrolment/certs_only.ts";
import { requestOf } from "../../enrolment/make_csr.ts";
import type { Credential } from "../authority.ts";
import { HostileMember } from "../hostile_member.ts";
import type { Simulation } from "../simulation.ts";
import type { CopiedPair } from "./member.ts";
import { drawnKeys } from "./member_machines.ts";
import { caUrl } from "./simulated_ca.ts";
import type { VirtualWeb } from "./virtual_web.ts";

/** How often it does what keeps it in, in milliseconds. */
const stayMs = 45_000;

/** The SPIFFE ID of an identity in hardware, in a certificate. */
const identityPattern = /spiffe:\/\/[a-z.]+\/identity\//;

/** A request for names of its own choice. */
export function requestFor(keyPem: string, wishes: readonly GeneralName[]): string {
  const key = readSigningKey(keyPem);
  const attribute = sequence(oid(extensionRequestOid), setOfOne(encodeExtensions([subjectAltName(wishes)])));
  const info = sequence(integer(0), sequence(), key.spki, constructed(0, attribute));
  return requestOf(key, info, sign(null, Buffer.from(info), createPrivateKey(keyPem))).body;
}

/** What a thief has. */
export type Loot = { readonly token: string } | {
  readonly pair: CopiedPair;
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

  /** Asks the CA for a certificate about a key of its own. */
  ask(
    loot: Loot,
    done: (got: Credential | undefined) => void,
    { keyPem: known, wishes = [] }: { readonly keyPem?: string; readonly wishes?: readonly GeneralName[] } = {},
  ): void {
    const keys = drawnKeys(`${this.#sim.seed}/${this.name}`);
    const keyPem = known ?? Effect.runSync(keys.make);
    const body = wishes.length > 0 ? requestFor(keyPem, wishes) : Effect.runSync(keys.request(keyPem)).body;
    const isToken = "token" in loot;
    this.#send(
      {
        path: `/.well-known/est/${isToken ? "simpleenroll" : "simplereenroll"}`,
        authorization: isToken ? `Bearer ${loot.token}` : undefined,
        body,
      },
      (answer) => done(this.#credentialOf(answer, keyPem)),
      isToken ? undefined : loot.pair,
    );
  }

  /** Asks the CA for a certificate for TLS, with the certificate of an identity and its key. */
  identify({ der, keyPem: own }: Credential, done: (got: Credential | undefined) => void): void {
    this.#send({ method: "GET", path: "/.well-known/hypha/nonce", body: "" }, (answer) => {
      if (answer === undefined) return done(undefined);
      const { nonce } = JSON.parse(Buffer.from(answer).toString("utf8")) as { readonly nonce: string };
      const keys = drawnKeys(`${this.#sim.seed}/${this.name}/tls`);
      const keyPem = Effect.runSync(keys.make);
      const csr = Buffer.from(Effect.runSync(keys.request(keyPem)).body, "base64");
      const { sign } = fileSigner(own);
      this.#web.tasks.wait(
        composeEnrolment({ csr, certificate: der, nonce, sign }),
        (body) =>
          this.#sim.after(
            0,
            () =>
              this.#send(
                { path: "/.well-known/hypha/enrol", body },
                (given) => done(this.#credentialOf(given, keyPem)),
              ),
          ),
      );
    });
  }

  #send(
    { method = "POST", path, authorization, body }: {
      readonly method?: "GET" | "POST";
      readonly path: string;
      readonly authorization?: string | undefined;
      readonly body: string;
    },
    done: (answer: Uint8Array | undefined) => void,
    pair?: CopiedPair,
  ): void {
    this.#web.send(this.name, {
      ...{ origin: caUrl, judge: () => undefined, pair },
      request: { method, path, authorization, ifNoneMatch: undefined, body: Buffer.from(body) },
    }, (outcome) => {
      const status = Result.isSuccess(outcome) ? String(outcome.success.status) : outcome.failure.code;
      this.#sim.note("fault", this.name, `was answered ${status}`);
      done(Result.isSuccess(outcome) && outcome.success.status === 200 ? outcome.success.body : undefined);
    });
  }

  #credentialOf(answer: Uint8Array | undefined, keyPem: string): Credential | undefined {
    const read = answer === undefined ? undefined : readCertsOnly(answer);
    const [leaf] = read !== undefined && Result.isSuccess(read) ? read.success : [];
    if (leaf === undefined) return undefined;
    const certPem = formatPem("CERTIFICATE", leaf.der);
    const chainPem = certPem + this.#sim.authority.intermediate.certPem;
    return { name: this.name, der: Uint8Array.from(leaf.der), certPem, keyPem, chainPem, serial: leaf.serial };
  }

  /** Connects with a certificate, and stays: it connects again, and renews what it has. */
  connect(credential: Credential, address: string): HostileMember {
    const member = new HostileMember({ sim: this.#sim, credential, number: 500 + this.#number });
    member.dial(address);
    let pair = credential;
    const took = (next: Credential | undefined) => {
      if (next !== undefined) member.show(pair = next);
      if (member.open.length === 0) member.dial(address);
    };
    const isIdentity = identityPattern.test(Buffer.from(credential.der).toString("latin1"));
    const stay = () => {
      if (isIdentity) this.identify(credential, took);
      else this.ask({ pair: { certPem: pair.certPem, keyPem: pair.keyPem } }, took, { keyPem: pair.keyPem });
      this.#sim.after(stayMs, stay);
    };
    this.#sim.after(isIdentity ? 0 : stayMs, stay);
    return member;
  }
}
