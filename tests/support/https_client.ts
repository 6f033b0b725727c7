/**
 * A client of the CA's port, with `node:https`.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { request, type RequestOptions } from "node:https";
import { Result } from "effect";
import { decodeDer, tags } from "../../pki/der.ts";

/** An answer that came. */
export interface ClientAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

/** What a client sends. */
export interface ClientRequest extends RequestOptions {
  readonly body?: string | Uint8Array;
}

/** Sends one request on a connection of its own; does not verify the server. */
export function ask(url: string, { body, ...options }: ClientRequest = {}): Promise<ClientAnswer> {
  return new Promise((resolve, reject) => {
    const all = {
      agent: false,
      rejectUnauthorized: false,
      minVersion: "TLSv1.3",
      timeout: 10_000,
      ...options,
    } as const;
    const sent = request(url, all, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("error", reject);
      response.on("end", () => {
        const { statusCode: status = 0, headers } = response;
        resolve({ status, headers, body: Buffer.concat(parts) });
      });
    });
    sent.on("error", reject);
    sent.on("timeout", () => sent.destroy(new Error("no answer")));
    sent.end(body);
  });
}

/** The certificates in a certs-only answer, DER. */
export function certificatesIn({ body }: ClientAnswer): readonly Uint8Array[] {
  const der = Buffer.from(body.toString("latin1"), "base64");
  const read = decodeDer(der, (cursor) => {
    const outer = cursor.enter(tags.sequence, "content info");
    outer.oid("type");
    const data = outer.enter(0xa0, "content").enter(tags.sequence, "signed data");
    data.small("version");
    data.read(tags.set, "digests");
    data.read(tags.sequence, "content");
    const list = data.enter(0xa0, "certificates");
    const found: Uint8Array[] = [];
    while (!list.done) {
      list.read(tags.sequence, "certificate");
      found.push(Uint8Array.from(list.whole));
    }
    return found;
  });
  return Result.getOrThrow(read);
}
