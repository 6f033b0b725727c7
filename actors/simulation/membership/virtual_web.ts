/**
 * HTTPS between simulated hosts: requests that take time, get lost with their links or alone, and go to a server whose chain the
 * client evaluates before it sends anything.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Effect, Result } from "effect";
import { parsePem } from "../../../pki/pem.ts";
import type { NodeIdentity } from "../../../transport/port.ts";
import type { VirtualNetwork } from "../../../transport/simulated/network.ts";
import { provesPossession } from "../../../transport/simulated/possession.ts";
import type { CaAnswer, CaRequest } from "../../ca/answer.ts";
import type { ServerIdentity } from "../../ca/own_certificate.ts";
import { type HttpAnswer, HttpFailed, type HttpGet } from "../../crl_exchange/http_get.ts";
import { type AskHttps, askLimits, type HttpsAnswer, type HttpsAsk } from "../../enrolment/ask_https.ts";
import { type EnrolmentRefused, enrolmentRefused } from "../../enrolment/enrolment_refused.ts";
import { NodeClock } from "../node_clock.ts";
import type { ProcessWeb } from "../node_config.ts";
import type { VirtualTime } from "../virtual_time.ts";

/** Octets of a request or an answer, for the time that they take. */
const messageBytes = 1_024;

/** A server. */
export interface WebServer {
  readonly host: string;
  readonly identity: () => Pick<ServerIdentity, "certPem" | "keyPem">;
  /** Undefined where the process ended before it answered. */
  readonly answer: (request: CaRequest) => Promise<CaAnswer | undefined>;
}

/** A request that was answered. */
export interface WebExchange {
  readonly from: string;
  readonly request: CaRequest;
  readonly answer: CaAnswer;
}

/** What a client sends. */
interface Sent {
  readonly origin: string;
  readonly judge: HttpsAsk["judge"];
  readonly pair?: HttpsAsk["pair"];
  readonly request: Omit<CaRequest, "certificate" | "address" | "session">;
}

/** Promises of clients: the run goes on when they are over. */
export class Tasks {
  working = 0;

  /** Waits for a promise that does not fail. */
  wait<A>(task: Promise<A>, done: (value: A) => void): void {
    this.working += 1;
    void task.then((value) => {
      this.working -= 1;
      done(value);
    });
  }
}

type Done = (outcome: Result.Result<HttpsAnswer, EnrolmentRefused>) => void;

/** The servers of a run. */
export class VirtualWeb {
  readonly #network: VirtualNetwork;
  readonly #time: VirtualTime;
  readonly #random: () => number;
  readonly #servers = new Map<string, WebServer>();
  /** The part of requests, and of answers, that is lost. */
  loss = 0;
  /** Sees each answer before it leaves the server. */
  answered: (exchange: WebExchange) => void = () => {};
  /** Servers that stand in the way of a host's requests: whatever it asks for, it reaches these. */
  readonly impostors = new Map<string, WebServer>();
  /** Answers in a server's place. */
  twist: (from: string, request: CaRequest) => CaAnswer | undefined = () => undefined;
  readonly tasks = new Tasks();
  /** Requests whose answers are being made. */
  working = 0;

  constructor(given: { readonly network: VirtualNetwork; readonly time: VirtualTime; readonly random: () => number }) {
    this.#network = given.network;
    this.#time = given.time;
    this.#random = given.random;
  }

  /** Serves an origin; returns how to stop. */
  open(origin: string, server: WebServer): () => void {
    this.#servers.set(origin, server);
    return () => {
      if (this.#servers.get(origin) === server) this.#servers.delete(origin);
    };
  }

  /** Whether a host gets answers from an origin now. */
  reaches(host: string, origin: string): boolean {
    const server = this.#servers.get(origin);
    return server !== undefined && !this.impostors.has(host) && this.loss === 0 && !this.#isCut(host, server.host);
  }

  /** The requests of one process. */
  of(host: string, clock: NodeClock): ProcessWeb {
    const ask: AskHttps = ({ url, path, method, headers = {}, body = "", pair, judge }) =>
      Effect.callback((resume) =>
        this.#send(host, clock, {
          origin: url,
          judge,
          pair,
          request: {
            method,
            path,
            authorization: headers["authorization"],
            ifNoneMatch: headers["if-none-match"],
            body: Buffer.from(body),
          },
        }, (outcome) => resume(Effect.fromResult(outcome)))
      );
    return { ask, get: getOver(ask) };
  }

  /** Raw: for thieves. */
  send(host: string, sent: Sent, done: Done): void {
    this.#send(host, new NodeClock(this.#time), sent, done);
  }

  #serverFor(host: string, origin: string): WebServer | undefined {
    return this.impostors.get(host) ?? this.#servers.get(origin);
  }

  #isCut(one: string, other: string): boolean {
    return this.#network.isCut(one, other) || this.#network.isCut(other, one);
  }

  #send(host: string, clock: NodeClock, sent: Sent, done: Done): void {
    const { origin, judge, pair, request } = sent;
    const fail = (detail: string) => Result.fail(enrolmentRefused("ca-unreachable", `${origin}: ${detail}`));
    let isOver = false;
    const end: Done = (outcome) => {
      if (isOver) return;
      isOver = true;
      clock.cancel(timer);
      done(outcome);
    };
    const timer = clock.after(askLimits.askMs, () => end(fail(`no answer within ${askLimits.askMs} ms`)));
    const server = this.#serverFor(host, origin);
    const way = (to = "") => this.#network.delayOf(host, to, messageBytes);
    if (server === undefined) return void clock.after(2 * way(), () => end(fail("connection refused")));
    if (this.#isCut(host, server.host)) return;
    clock.after(2 * way(server.host), () => {
      const identity = server.identity();
      const refusal = judge(derOf(identity.certPem));
      if (refusal !== undefined) return end(Result.fail(refusal));
      const certificate = pair === undefined ? undefined : derOf(pair.certPem)[0];
      if (pair !== undefined && !proves(pair)) return end(fail("the handshake failed"));
      clock.after(way(server.host), () => {
        if (isOver || this.#serverFor(host, origin) !== server || this.#isLost(host, server.host)) return;
        this.#serve(server, host, { ...request, certificate, address: host, session: "new" }, (answer) => {
          clock.after(way(server.host), () => {
            if (!this.#isLost(host, server.host)) end(Result.succeed(answer));
          });
        });
      });
    });
  }

  #isLost(host: string, server: string): boolean {
    return this.#isCut(host, server) || (this.loss > 0 && this.#random() < this.loss);
  }

  #serve(server: WebServer, from: string, request: CaRequest, done: (answer: HttpsAnswer) => void): void {
    const twisted = this.twist(from, request);
    if (twisted !== undefined) return done(answerOf(twisted));
    this.working += 1;
    const served = server.answer(request).then((answer) => {
      if (answer === undefined) return;
      this.answered({ from, request, answer });
      done(answerOf(answer));
    });
    void served.finally(() => this.working -= 1);
  }
}

/** DER of a PEM's certificates. */
export function derOf(pem: string): readonly Uint8Array[] {
  return Result.getOrThrow(parsePem(pem)).map(({ der }) => Uint8Array.from(der));
}

function proves({ certPem, keyPem }: NonNullable<HttpsAsk["pair"]>): boolean {
  return provesPossession({ chain: derOf(certPem), keyPem } as unknown as NodeIdentity);
}

function answerOf({ status, headers, body }: CaAnswer): HttpsAnswer {
  return { status, headers, body: typeof body === "string" ? Buffer.from(body) : body };
}

/** A list over HTTPS: the server is not judged. */
function getOver(ask: AskHttps): HttpGet {
  return (url, etags) => {
    const { origin, pathname: path } = new URL(url);
    const headers: Record<string, string> = etags.length === 0 ? {} : { "if-none-match": etags.join(", ") };
    const asked = ask({ url: origin, path, method: "GET", headers, judge: () => undefined });
    return Effect.mapBoth(asked, {
      onFailure: ({ detail }) => new HttpFailed({ url, detail }),
      onSuccess: ({ status, headers: given, body }): HttpAnswer => {
        let rest: Uint8Array | undefined = body;
        const etag = given["etag"];
        return {
          status,
          etag: typeof etag === "string" ? etag : undefined,
          sizeBytes: status === 304 ? undefined : body.length,
          next: Effect.sync(() => {
            const piece = rest;
            rest = undefined;
            return piece === undefined || piece.length === 0 ? undefined : piece;
          }),
        };
      },
    });
  };
}
