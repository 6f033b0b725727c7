/**
 * What the conformance suites ask of parties again and again.
 *
 * @module
 */
import * as assert from "uvu/assert";
import type { AskTarget, TransportAnswer, TransportFact } from "../../transport/port.ts";
import type { Meeting, Party } from "./conformance.ts";

export const health = "/hypha-health/0.0.1" as const;
export const push = "/hypha-tensor-stream/push" as const;

export const established = (peer: string) => (fact: TransportFact) =>
  fact.type === "peer.established" && fact.peer === peer && fact;
export const closed = (peer: string) => (fact: TransportFact) =>
  fact.type === "peer.closed" && fact.peer === peer && fact;

export function dial(from: Party, to: Party): Promise<TransportAnswer> {
  return from.ask({ type: "dial", id: "dial", target: { address: to.address } });
}

export function ask(from: Party, to: Party, id: string, timeoutMs = 2_000): Promise<TransportAnswer> {
  return from.ask({ type: "request", id, peer: to.peer, protocol: health, message: {}, timeoutMs });
}

export const codeOf = (answer: TransportAnswer): string => {
  const failed = answer as { readonly error?: { readonly code: string }; readonly refusal?: { readonly code: string } };
  return failed.error?.code ?? failed.refusal?.code ?? answer.type;
};

export async function connected(meeting: Meeting): Promise<[Party, Party]> {
  const [a, b] = [await meeting.join("a"), await meeting.join("b")];
  assert.is((await dial(a, b)).type, "dial.done");
  await b.fact(established(a.peer));
  return [a, b];
}

export async function left(...parties: readonly Party[]): Promise<void> {
  for (const party of parties) await party.stop();
}

/** Asks without waiting: the answer is fetched later. */
export function startAsking(from: Party, to: Party, id: string, timeoutMs = 2_000, meant?: AskTarget) {
  let answer: TransportAnswer | undefined;
  const replyTo = { send: (said: TransportAnswer) => void (answer = said) };
  const target = meant === undefined ? {} : { to: meant };
  from.send({ type: "request", id, peer: to.peer, ...target, protocol: health, message: {}, timeoutMs, replyTo });
  return {
    async answer(meeting: Meeting): Promise<TransportAnswer> {
      for (let time = 0; answer === undefined && time < 400; time++) await meeting.pass(25);
      if (answer === undefined) throw new Error(`Cannot see the answer to ${id}`);
      return answer;
    },
  };
}
