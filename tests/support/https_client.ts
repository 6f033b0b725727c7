/**
 * A client of the CA's port, with `node:https`.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Result } from "effect";
import { decodeDer, tags } from "../../pki/der.ts";
import { askCa, type CaAsk, type CaReply } from "../../scripts/attack/ca/client.ts";

/** An answer that came. */
export type ClientAnswer = CaReply;
/** What a client sends. */
export type ClientRequest = CaAsk;

/** Sends one request on a connection of its own; does not verify the server. */
export const ask = (url: string, request: ClientRequest = {}): Promise<ClientAnswer> =>
  askCa(url, { timeout: 10_000, ...request });

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
