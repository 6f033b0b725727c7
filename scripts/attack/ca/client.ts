/**
 * A client of the CA's port: honest or not, each request on a connection of its own.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { request, type RequestOptions } from "node:https";

/** What came of a request. */
export interface CaReply {
  readonly status: number;
  /** The refusal's code; `ok` where there is none. */
  readonly code: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

/** What is sent. */
export interface CaAsk extends RequestOptions {
  readonly body?: string | Uint8Array;
}

const timeoutMs = 20_000;

/** Sends a request; does not verify the server. Fails where the connection ends without an answer. */
export function askCa(url: string, { body, ...options }: CaAsk = {}): Promise<CaReply> {
  return new Promise((resolve, reject) => {
    const all = {
      agent: false,
      rejectUnauthorized: false,
      minVersion: "TLSv1.3",
      timeout: timeoutMs,
      ...options,
    } as const;
    const sent = request(url, all, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("error", reject);
      response.on("end", () => {
        const [status, bytes] = [response.statusCode ?? 0, Buffer.concat(parts)];
        const code = status === 200 ? "ok" : /^([a-z-]+):/.exec(bytes.toString("latin1"))?.[1] ?? `status-${status}`;
        resolve({ status, code, headers: response.headers, body: bytes });
      });
    });
    sent.on("error", reject);
    sent.on("timeout", () => sent.destroy(new Error("no answer")));
    sent.end(body);
  });
}
