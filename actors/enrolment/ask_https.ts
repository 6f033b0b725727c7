/**
 * One HTTPS request to a CA, on a connection of its own: TLS 1.3, no resumed session. Before the first byte of the request
 * leaves, the caller evaluates the server's chain; the runtime's own verification and host names count for servers of the web only.
 *
 * `node:https`, never `fetch`: Deno's keeps trusting its default roots.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { ClientRequest, IncomingMessage } from "node:http";
import { request, type RequestOptions } from "node:https";
import { getCACertificates, type TLSSocket } from "node:tls";
import { Effect } from "effect";
import { peerChain } from "../../transport/libp2p/peer_chain.ts";
import { pullMs } from "../crl_exchange/wants.ts";
import { EnrolmentRefused, enrolmentRefused } from "./enrolment_refused.ts";

/** Limits of one request. */
export interface AskLimits {
  /** From the first packet to the last byte of the answer, in milliseconds; to the head of one that may be large. */
  readonly askMs: number;
  /** Octets of an answer. */
  readonly answerBytesMax: number;
  /** The roots of the web (PEM), for `server: "web"`; those of the runtime where undefined. */
  readonly webRoots?: readonly string[];
}

/** An answer has some kilobytes; a list of 100,000 entries has 4 MB, one of a million 40 MB. */
export const askLimits: AskLimits = { askMs: 20_000, answerBytesMax: 64 * 1024 * 1024 };

/** A request. */
export interface HttpsAsk {
  /** Where: `https://HOST[:PORT]`. */
  readonly url: string;
  /** Path of the resource, beginning with a slash. */
  readonly path: string;
  readonly method: "GET" | "POST";
  /** Headers; secrets among them. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Octets of the answer at most, where they are fewer than the port's own limit. */
  readonly answerBytesMax?: number;
  /** The answer may be large: from its head on it has as much time as its bytes take at the least rate. */
  readonly isLarge?: true;
  /** The certificate to show, with its chain, and its key (PEM). */
  readonly pair?: { readonly certPem: string; readonly keyPem: string } | undefined;
  /** A server of the web: the runtime verifies it under the web's roots and its host name, before `judge`. */
  readonly server?: "web";
  /**
   * Evaluates the server's chain (DER, leaf first) before a byte of the request is sent.
   *
   * @returns Why the request is not sent; undefined where it is.
   */
  readonly judge: (chain: readonly Uint8Array[]) => EnrolmentRefused | undefined;
}

/** An answer. */
export interface HttpsAnswer {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: Uint8Array;
}

/** The port: {@linkcode askHttps}, or a simulated one. */
export type AskHttps = (ask: HttpsAsk) => Effect.Effect<HttpsAnswer, EnrolmentRefused>;

/** The port over the real network, within limits. */
export const httpsWithin = ({ askMs, answerBytesMax, webRoots }: AskLimits): AskHttps => (ask) =>
  Effect.callback<HttpsAnswer, EnrolmentRefused>((resume) => {
    let isOver = false;
    let sent: ClientRequest | undefined;
    const end = (outcome: Effect.Effect<HttpsAnswer, EnrolmentRefused>) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      resume(outcome);
      sent?.destroy();
    };
    const fail = (
      code: "ca-unreachable" | "ca-not-trusted" | "answer-malformed" | "key-unreadable",
      detail: string,
    ) => end(Effect.fail(enrolmentRefused(code, `${ask.url}: ${detail}`)));
    const within = (ms: number) =>
      setTimeout(() => fail("ca-unreachable", `no whole answer within ${Math.ceil(ms)} ms`), ms);
    let timer = within(askMs);
    const bytesMax = Math.min(answerBytesMax, ask.answerBytesMax ?? answerBytesMax);
    try {
      sent = request(
        new URL(ask.path, ask.url),
        optionsOf(ask, webRoots),
        (response) => {
          if (ask.isLarge === true && !isOver) {
            clearTimeout(timer);
            timer = within(pullMs(Math.min(bytesMax, Number(response.headers["content-length"] ?? bytesMax))));
          }
          readAnswer(response, bytesMax, {
            done: (answer) => end(Effect.succeed(answer)),
            tooLarge: () => fail("answer-malformed", `an answer of more than ${bytesMax} bytes`),
            broken: (detail) => fail("ca-unreachable", detail),
          });
        },
      );
      judgedBeforeSent(sent, ask, {
        refused: (refusal) => end(Effect.fail(refusal)),
        broken: (error) => fail(isVerdict(error) ? "ca-not-trusted" : "ca-unreachable", error.message),
      });
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error);
      if (ask.pair === undefined) fail("ca-unreachable", detail);
      else fail("key-unreadable", `the TLS library does not take cert_pem and key_pem: ${detail}`);
    }
    return Effect.sync(() => {
      isOver = true;
      clearTimeout(timer);
      sent?.destroy();
    });
  });

interface Verdict {
  readonly refused: (refusal: EnrolmentRefused) => void;
  readonly broken: (error: Error) => void;
}

/** Sends the body when the server was judged. Nothing is written before `end`: the request waits for the verdict. */
function judgedBeforeSent(sent: ClientRequest, ask: HttpsAsk, { refused, broken }: Verdict): void {
  sent.on("error", broken);
  sent.on("socket", (socket) =>
    socket.once("secureConnect", () => {
      const refusal = judgeConnection(socket as TLSSocket, ask);
      if (refusal !== undefined) return refused(refusal);
      sent.end(ask.body);
    }));
}

/** The port over the real network. */
export const askHttps: AskHttps = httpsWithin(askLimits);

/** Whether the runtime refused a certificate of the web: by its code on Node, by its words on Deno. */
function isVerdict({ code = "", message }: Error & { readonly code?: string }): boolean {
  return /^(ERR_TLS_CERT_|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_)/.test(code) ||
    /invalid peer certificate|certificate not valid/i.test(message);
}

/** The runtime's roots. Deno wants --allow-sys=ca for them. */
const runtimeRoots = (): readonly string[] => getCACertificates("default");

function optionsOf({ method, headers, body, pair, server }: HttpsAsk, webRoots?: readonly string[]): RequestOptions {
  const length = body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) };
  return {
    method,
    headers: { ...headers, ...length },
    agent: false,
    rejectUnauthorized: server === "web",
    // Of a CA none but the pinned root counts, and Deno wants --allow-sys=ca before it reads those of the system.
    ca: server === "web" ? [...webRoots ?? runtimeRoots()] : [],
    minVersion: "TLSv1.3",
    maxVersion: "TLSv1.3",
    ...(pair === undefined ? {} : { cert: pair.certPem, key: pair.keyPem }),
  };
}

function judgeConnection(socket: TLSSocket, { url, judge }: HttpsAsk): EnrolmentRefused | undefined {
  const refuse = (detail: string) => enrolmentRefused("ca-not-trusted", `${url}: ${detail}`);
  if (socket.getProtocol() !== "TLSv1.3") return refuse("it does not speak TLS 1.3");
  if (socket.isSessionReused()) return refuse("it resumed a session: it has not proved its key");
  try {
    return judge(peerChain(socket));
  } catch (error) {
    return refuse(`its certificate cannot be read: ${error instanceof Error ? error.message : error}`);
  }
}

interface Reader {
  readonly done: (answer: HttpsAnswer) => void;
  readonly tooLarge: () => void;
  readonly broken: (detail: string) => void;
}

function readAnswer(response: IncomingMessage, bytesMax: number, { done, tooLarge, broken }: Reader): void {
  const parts: Uint8Array[] = [];
  let size = 0;
  response.on("data", (part: Uint8Array) => {
    size += part.length;
    if (size > bytesMax) return tooLarge();
    parts.push(part);
  });
  response.on("error", (error: Error) => broken(error.message));
  response.on("close", () => broken("the answer broke off"));
  response.on("end", () => {
    if (!response.complete) return broken("the answer broke off");
    done({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) });
  });
}
