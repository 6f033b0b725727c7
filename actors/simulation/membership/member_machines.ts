/**
 * The production machines of enrolment and of the list exchange, with keys that a seed draws and with the HTTPS of a simulated network.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, sign } from "node:crypto";
import { Effect } from "effect";
import { readSigningKey } from "../../../pki/issue/signing_key.ts";
import { type FetchInput, fetchLists } from "../../crl_exchange/fetch_lists.ts";
import { crlExchangeMachine } from "../../crl_exchange/exchange.ts";
import type { HttpGet } from "../../crl_exchange/http_get.ts";
import { type EnrolmentInput, enrolmentMachine } from "../../enrolment/enrolment.ts";
import type { HardwareKey } from "../../enrolment/identity_key.ts";
import { requestInfo, type RequestKeys, requestOf } from "../../enrolment/make_csr.ts";
import { type EffectInput, fromEffect } from "../../runtime/effect_actor.ts";
import type { Ports } from "../../runtime/ports.ts";
import { keyOf } from "../authority.ts";
import { withInput } from "../turned_machines.ts";

/** What a process of a node has in place of the world's. */
export interface MemberHands {
  readonly get: HttpGet;
  readonly keys: RequestKeys;
  /** The key of its identity, where that is in a token. */
  readonly hardware?: HardwareKey | undefined;
}

/** By the `run` of the process, which all its actors get. */
const handsByRun = new WeakMap<Ports["run"], MemberHands>();

/** The machines of a process whose actors get this `run` have these hands. */
export function giveMember(run: Ports["run"], hands: MemberHands): void {
  handsByRun.set(run, hands);
}

/** Enrolment with drawn keys, and with simulated tokens. */
export const memberEnrolment = withInput(
  enrolmentMachine,
  (input: EnrolmentInput): EnrolmentInput => {
    const { keys, hardware } = handsByRun.get(input.ports.run) ?? {};
    return { ...input, keys, hardware };
  },
);

/** The exchange, which fetches over the simulated network. */
export const memberExchange = crlExchangeMachine.provide({
  actors: {
    fetchRound: fromEffect(
      "fetchRound",
      (input: EffectInput & FetchInput) => fetchLists({ ...input, get: handsByRun.get(input.ports.run)?.get }),
    ),
  },
});

/** Keys that `seed` draws, one after the other. Requests are signed at once: no promise is waited for. */
export function drawnKeys(seed: string): RequestKeys {
  let made = 0;
  return {
    make: Effect.sync(() => keyOf(seed, `request/${++made}`)),
    request: (keyPem) =>
      Effect.sync(() => {
        const key = readSigningKey(keyPem);
        const info = requestInfo(key);
        return requestOf(key, info, sign(null, Buffer.from(info), createPrivateKey(keyPem)));
      }),
  };
}
