/**
 * The token with the key of a node's identity in a run: as `actors/enrolment/identity_key.ts` shows one to enrolment, it is opened for a
 * task and closed after it, and it can hang or vanish.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, sign } from "node:crypto";
import { Effect, Result } from "effect";
import { fileSigner, type Signer } from "../../../pki/issue/mod.ts";
import type { EnrolmentRefused } from "../../enrolment/enrolment_refused.ts";
import { type HardwareKey, refusalOfKey } from "../../enrolment/identity_key.ts";
import { SignerError } from "../../pkcs11/signer_error.ts";
import { keyOf } from "../authority.ts";
import type { NodeClock } from "../node_clock.ts";
import { hangMs, type TokenState } from "./simulated_token.ts";
import type { Tasks } from "./virtual_web.ts";

/** The key's URI in configurations. */
export const identityKeyUri = "pkcs11:token=sim;object=identity?module-path=/sim.so";

/** A token. */
export class IdentityToken {
  readonly #keyPem: string;
  readonly #tasks: Tasks;
  state: TokenState = "there";

  /** @param seed Draws the key. */
  constructor(seed: string, tasks: Tasks) {
    this.#keyPem = keyOf(seed, "identity");
    this.#tasks = tasks;
  }

  /** As one process of the node has it. */
  of(clock: NodeClock): HardwareKey {
    return { use: (task) => Effect.callback((resume) => this.#use(clock, task, resume)) };
  }

  #use<A>(
    clock: NodeClock,
    task: (signer: Signer) => Promise<A>,
    resume: (outcome: Effect.Effect<A, EnrolmentRefused>) => void,
  ): void {
    if (this.state !== "there") {
      const detail = this.state === "gone" ? "the token is not there" : "it does not answer";
      const key = identityKeyUri.replace(/\?.*/, "");
      const refusal = refusalOfKey(new SignerError({ code: "signer-unavailable", key, detail }));
      return void clock.after(this.state === "gone" ? 0 : hangMs, () => resume(Effect.fail(refusal)));
    }
    const key = createPrivateKey(this.#keyPem);
    const signer: Signer = {
      spki: fileSigner(this.#keyPem).spki,
      failure: () => undefined,
      sign: (bytes) => Promise.resolve(Uint8Array.from(sign(null, Buffer.from(bytes), key))),
    };
    const settled = task(signer).then(Result.succeed, (error) => Result.fail(refusalOfKey(error)));
    this.#tasks.wait(settled, (outcome) => clock.after(0, () => resume(Effect.fromResult(outcome))));
  }
}
