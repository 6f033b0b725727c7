/**
 * A CA with its HTTPS port on a loopback address, for tests.
 *
 * @module
 */
import { Effect, Exit, Scope } from "effect";
import { answer } from "../../actors/ca/answer.ts";
import { type HttpsPort, openHttpsPort, type PortTimes } from "../../actors/ca/https_port.ts";
import { issueOwn } from "../../actors/ca/own_certificate.ts";
import { renewLists } from "../../actors/ca/revoke.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { type TestAuthority, testAuthority, type TestAuthorityOptions } from "./authority.ts";

/** A CA that listens. */
export interface TestCaPort extends TestAuthority {
  readonly url: string;
  readonly port: HttpsPort;
  readonly stop: () => Promise<void>;
}

/** Times short enough for tests. */
export const shortTimes: PortTimes = {
  handshakeMs: 400,
  headersMs: 400,
  requestMs: 800,
  idleMs: 500,
  checkMs: 50,
  answerMs: 800,
};

/** Starts a CA whose clock is the real one. */
export async function testCaPort(
  { times, ...options }: TestAuthorityOptions & { readonly times?: PortTimes } = {},
): Promise<TestCaPort> {
  const number = await freePort();
  const url = `https://127.0.0.1:${number}`;
  const world = await testAuthority({ url, from: new Date(), ...options });
  const { ca } = world;
  await Effect.runPromise(renewLists(ca, new Date()));
  const identity = await Effect.runPromise(issueOwn(ca, "ca-01", new Date()));
  const scope = Scope.makeUnsafe();
  const port = await Effect.runPromise(Scope.provide(
    openHttpsPort({
      host: "127.0.0.1",
      port: number,
      identity,
      answer: (request) => Effect.runPromise(answer(ca, request, new Date())),
      now: () => performance.now(),
      ...(times === undefined ? {} : { times }),
    }),
    scope,
  ));
  return {
    ...world,
    url,
    port,
    stop: async () => {
      await Effect.runPromise(Scope.close(scope, Exit.void));
      world.close();
    },
  };
}
