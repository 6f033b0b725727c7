/**
 * A list exchange's answers to requests of peers.
 *
 * @module
 */
import type { ReceivedRequest } from "../runtime/requests.ts";
import type { Served } from "./effects.ts";
import { type ExchangeArgs, readingMax, waitingMax } from "./exchange_setup.ts";

/** Answers an announcement at once, and a request for a piece in its turn. */
export function answerRequest(args: ExchangeArgs, request: ReceivedRequest): void {
  const { context: { book, transport, waiting }, enqueue } = args;
  const { exchange, peer, message } = request;
  if (transport === undefined) return;
  if ("Announce" in message) {
    const answers = book.announced(peer, message.Announce);
    enqueue.sendTo(transport, { type: "respond", exchange, message: { Announced: answers } });
    enqueue.raise({ type: "crl.arrived" });
    return enqueue.raise({ type: "crl.look" });
  }
  if (!("Pull" in message) || waiting.length >= waitingMax) {
    return enqueue.sendTo(transport, { type: "decline", exchange });
  }
  enqueue.assign({ waiting: [...waiting, { request, transport }] });
  enqueue.raise({ type: "crl.serve" });
}

/** Reads the next pieces that peers asked for. */
export function serveNext({ context, enqueue }: ExchangeArgs): void {
  const { book, ports, waiting } = context;
  const taken = waiting.slice(0, Math.max(0, readingMax - context.reading));
  let { reading } = context;
  for (const { request: { exchange, message }, transport } of taken) {
    if (!("Pull" in message)) continue;
    const { sha256, offset } = message.Pull;
    const path = book.pathOf(sha256);
    if (path === undefined) {
      enqueue.sendTo(transport, { type: "respond", exchange, message: { Piece: new Uint8Array(0) } });
      continue;
    }
    reading += 1;
    const id = `serve/${book.id()}`;
    const unchanged = book.signatures.get(sha256);
    enqueue.spawnChild("serve", { id, input: { ports, id, exchange, transport, path, sha256, offset, unchanged } });
  }
  enqueue.assign({ waiting: waiting.slice(taken.length), reading });
}

/** A piece was read. It is sent by the transport that received the request: the node may have another one by now. */
export function respond(
  { context: { book, reading }, enqueue }: ExchangeArgs,
  { id, exchange, transport, sha256, piece }: Served,
): void {
  const read = typeof piece === "string" ? undefined : piece;
  book.noteSignature(sha256, read?.signature);
  enqueue.stopChild(id);
  enqueue.assign({ reading: reading - 1 });
  // No piece means that the node does not have the list: nothing about one that it has and cannot read.
  const isRefused = piece === "gone" || piece === "unread";
  const message = { Piece: read?.bytes ?? new Uint8Array(0) };
  enqueue.sendTo(transport, isRefused ? { type: "decline", exchange } : { type: "respond", exchange, message });
  if (piece === "gone" && book.isSeen(sha256)) enqueue.raise({ type: "crls.lost", sha256: [sha256], torn: [] });
  enqueue.raise({ type: "crl.serve" });
}
