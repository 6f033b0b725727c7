/**
 * The actions of a list exchange.
 *
 * @module
 */
import { ownDomain } from "../../pki/crl_marks.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { PeerText, RequestAnswer, TransportFact } from "../../transport/port.ts";
import { answerAs, type TransportRef } from "../runtime/role.ts";
import { backoffMs } from "../runtime/backoff.ts";
import type { Arrival, SeenList } from "./book.ts";
import type { Taken } from "./effects.ts";
import { aheadLookMs, type CrlsLost, type ExchangeArgs, lookMs, type OwnEvent, pauseMs } from "./exchange_setup.ts";
import type { Fetched } from "./fetch_lists.ts";
import { HttpFailed } from "./http_get.ts";
import type { PullEvent, PullRef } from "./pull.ts";

/** How long an answer to an announcement is waited for, in milliseconds. */
export const announceTimeoutMs = 5_000;
/** Delay before a list that no peer could send is requested again, in milliseconds. */
export const againMs = 2_000;
/** The wait before an announcement that failed is repeated. */
const tellBackoff = { firstMs: 500, maxMs: 60_000 };
const protocol = "/hypha-crl/1";

// ── Announcing ──

/** Tells a peer the lists that it was not told. */
function tell(
  { context: { book, transport }, self, enqueue }: ExchangeArgs,
  peer: PeerText,
  notices = book.notices(),
): void {
  if (transport === undefined) return;
  const lists = book.neighbours.announcementTo(peer, notices);
  if (lists.length === 0) return;
  enqueue.sendTo(transport, {
    type: "request",
    id: `crl/${book.id()}`,
    peer,
    dial: "never",
    protocol,
    message: { Announce: lists },
    timeoutMs: announceTimeoutMs,
    replyTo: answerAs(self, (answer: RequestAnswer): OwnEvent => ({ type: "crl.told", peer, lists, answer })),
  });
}

/** Tells a peer again what did not reach it. */
export function tellAgain(args: ExchangeArgs, { peer }: { readonly peer: PeerText }): void {
  tell(args, peer);
}

/** Tells all peers everything again. */
export function announceAll(args: ExchangeArgs): void {
  args.context.book.neighbours.forgetAnnouncements();
  tellAll(args);
}

/** Tells all peers what they were not told. */
export function tellAll(args: ExchangeArgs): void {
  const { book } = args.context;
  const notices = book.notices();
  for (const peer of book.neighbours.peers()) tell(args, peer, notices);
}

/** A peer answered an announcement, or did not. */
export function told(args: ExchangeArgs, { peer, lists, answer }: Extract<OwnEvent, { type: "crl.told" }>): void {
  const { context: { book: { neighbours }, ports }, enqueue } = args;
  if (answer.type === "response") {
    neighbours.answered(peer, lists, "Announced" in answer.message ? answer.message.Announced : []);
    return tell(args, peer);
  }
  const failures = neighbours.failed(peer, lists, answer.error.code === "unsupported");
  if (failures === undefined) return;
  const delay = backoffMs(failures, ports.random(), tellBackoff);
  enqueue.raise({ type: "crl.tell", peer }, { delay, id: `tell/${peer}` });
}

// ── Peers and trust ──

/**
 * A member is connected, or has another connection: both ends tell what they have. A list whose signature was verified on its path is
 * told to all when its bytes are seen.
 */
export function established(
  args: ExchangeArgs,
  { identity }: Extract<TransportFact, { type: "peer.established" | "peer.reconnected" }>,
): void {
  args.context.book.established(identity);
  tell(args, identity.peer);
}

/** A member is gone. */
export function closed(
  { context: { book } }: ExchangeArgs,
  { identity, reason }: Extract<TransportFact, { type: "peer.closed" }>,
) {
  if (reason.type === "lost") book.neighbours.forgiveLate(identity.peer);
  if (book.neighbours.closed(identity)) book.wants.left(identity.peer);
}

/** Another snapshot holds: other lists, other keys. */
export function takeTrust(args: ExchangeArgs, { snapshot }: { readonly snapshot: TrustSnapshot }): void {
  args.context.book.trustChanged(snapshot);
  args.enqueue.assign({ seeks: 0 });
  args.enqueue.raise({ type: "crl.seek" });
  dropUnwanted(args);
  tellAll(args);
}

/** The node has another transport, with connections of its own. */
export function takeTransport(args: ExchangeArgs, { transport }: { readonly transport: TransportRef }): void {
  const { context: { book }, enqueue } = args;
  for (const peer of [...book.neighbours.peers()]) book.wants.left(peer);
  book.neighbours.clear();
  enqueue.assign({ transport });
}

/** Lists lie in their places: peers are told. */
export function noteSeen(args: ExchangeArgs, { value }: { readonly value: readonly SeenList[] }): void {
  for (const list of value) args.context.book.seen(list);
  if (value.length > 0) args.enqueue.assign({ seeks: 0 });
  tellAll(args);
}

// ── Pulling ──

/** Begins pulls where there are places, and stops those that hold up better ones. */
export function look({ context, self, enqueue }: ExchangeArgs): void {
  const { book, ports, stateDir, transport, pulls, pausedUntil } = context;
  const pausedMs = pausedUntil - ports.now();
  // A longer pause than there is: the clock was ahead, and was set right.
  if (transport === undefined || (pausedMs > 0 && pausedMs <= pauseMs)) return;
  const running = new Map(pulls);
  for (let next = book.wants.next(); next !== undefined; next = book.wants.next()) {
    const id = `pull/${book.id()}`;
    running.set(next.notice.sha256, id);
    enqueue.spawnChild("pull", { id, input: { ...next, parent: self, ports, transport, stateDir } });
  }
  enqueue.assign({ pulls: running });
  const stopped = book.wants.toStop();
  if (stopped !== undefined) enqueue.sendTo<PullRef>(running.get(stopped) ?? "", { type: "pull.stop" });
  if (!book.wants.areWaiting || context.isLooking) return;
  enqueue.assign({ isLooking: true });
  enqueue.raise({ type: "crl.look.again" }, { delay: lookMs, id: "look" });
}

/** Looks again while lists wait for a place. */
export function lookAgain(args: ExchangeArgs): void {
  args.enqueue.assign({ isLooking: false });
  args.enqueue.raise({ type: "crl.look" });
}

/** A pull ended. */
export function endPull(
  args: ExchangeArgs,
  { sha256, peer, end, detail }: Extract<PullEvent, { type: "pull.ended" }>,
): void {
  const { context, enqueue } = args;
  const { book, ports, pulls } = context;
  const notice = book.wants.notices().find((each) => each.sha256 === sha256);
  enqueue.assign({ pulls: new Map([...pulls].filter(([each]) => each !== sha256)) });
  const tellers = [...book.neighbours.toldOf(sha256).keys()];
  // A peer that sent a part and withdrew the list. One whose list was replaced before it sent any bytes did nothing wrong.
  const isUseless = end === "useless" || end === "late" || end === "unanswered";
  const isWithdrawn = isUseless && book.wants.giversOf(sha256).includes(peer) && !tellers.includes(peer) &&
    book.neighbours.isConnected(peer);
  // A request that failed says nothing of the peer's list: it may have been busy, or could not read its file.
  const unanswered = [...book.wants.unansweredBy(sha256), ...end === "unanswered" ? [peer] : []];
  const outcome = book.wants.ended(sha256, end);
  if (end === "unstored") pause(args, { detail });
  if (end === "whole" && notice !== undefined) {
    book.arrived({ issuer: notice.issuer, sha256, sizeBytes: notice.size, peer: undefined });
    enqueue.raise({ type: "crl.arrived" });
  }
  if (end === "wrong" || isWithdrawn) blame(args, peer, detail);
  // No peer could send the list: each peer that still announces it, and answered, gets a strike.
  if (outcome === "unserved") {
    for (const each of tellers) {
      enqueue.raise({ type: "crl.again", peer: each, sha256 }, { delay: againMs, id: `${sha256}/${each}` });
    }
    for (const each of tellers.filter((teller) => !unanswered.includes(teller))) {
      if (end !== "wrong" || each !== peer) blame(args, each, detail, end === "late" && each === peer);
    }
  }
  if (isUseless) {
    const message = `Cannot pull revocation list ${sha256.slice(0, 16)} from ${peer}: ${detail}`;
    ports.report({ level: "debug", event: "crl.unserved", message, fields: { peer, sha256 } });
  }
  enqueue.raise({ type: "crl.look" });
}

/** Requests a list that no peer could send again, from a peer that still announces it. */
export function wantAgain(args: ExchangeArgs, { peer, sha256 }: Extract<OwnEvent, { type: "crl.again" }>): void {
  const { context: { book }, enqueue } = args;
  book.wantFrom(sha256, [peer]);
  enqueue.raise({ type: "crl.look" });
}

/** Files of lists were torn, or are gone: peers and servers are asked for them again. */
export function wantLost(
  { context: { book, etags }, enqueue }: ExchangeArgs,
  lost: CrlsLost,
): void {
  book.lost(lost);
  // A server would answer that nothing is new.
  etags.clear();
  enqueue.raise({ type: "crl.seek" });
  enqueue.raise({ type: "crl.look" });
}

function blame(
  { context: { book, ports } }: Pick<ExchangeArgs, "context">,
  peer: PeerText,
  detail: string,
  isLate = false,
): void {
  const isDeaf = book.neighbours.strike(peer, isLate);
  ports.report({
    level: isDeaf ? "warn" : "info",
    event: "crl.useless",
    message: `Useless revocation list from ${peer}: ${detail}${
      isDeaf ? "; its announcements are ignored for an hour" : ""
    }`,
    fields: { peer, detail, ignored: isDeaf },
  });
}

/** The state directory could not be written: nothing is pulled for a while. */
export function pause({ context, enqueue }: ExchangeArgs, { detail }: { readonly detail: string }): void {
  const { ports, isUnstored } = context;
  if (!isUnstored) {
    ports.report({ level: "warn", event: "crl.unstored", message: detail, fields: { detail } });
  }
  enqueue.assign({ isUnstored: true, pausedUntil: ports.now() + pauseMs });
  enqueue.raise({ type: "crl.look" }, { delay: pauseMs, id: "paused" });
}

/** Stops pulls of lists that the node has by now. */
function dropUnwanted(args: ExchangeArgs): void {
  for (const sha256 of args.context.book.dropUnwanted()) stopPull(args, sha256);
}

function stopPull({ context: { pulls }, enqueue }: ExchangeArgs, sha256: string): void {
  const id = pulls.get(sha256);
  if (id !== undefined) enqueue.sendTo<PullRef>(id, { type: "pull.stop" });
}

// ── Arrivals ──

/** The input of the Effect that takes the next arrival. */
export function takeInput({ ports, stateDir, book }: ExchangeArgs["context"]) {
  const arrival = book.nextArrival;
  if (arrival === undefined) throw new Error("Cannot take a list: none arrived");
  const { issuer, sha256 } = arrival;
  return {
    ports,
    stateDir,
    arrival,
    issuer: book.issuerOf(issuer),
    isHeld: book.isHeld(sha256),
    newest: (list: { readonly scope: string; readonly kind: "complete" | "delta" }) =>
      book.placedNumberOf({ issuer, scope: list.scope, base: list.kind === "delta" ? "" : null }),
    effective: (scope: string) => book.effectiveNumberOf({ issuer, scope }),
    at: new Date(ports.now()),
  };
}

/** An arrival was verified, and is in its place, or is none. */
export function endArrival(args: ExchangeArgs, { arrival, outcome, bytes }: Taken): void {
  const { context, enqueue } = args;
  const { book, ports } = context;
  const { sha256, peer, urls } = arrival;
  book.arrivalDone();
  enqueue.assign({ isUnstored: false });
  if (urls !== undefined) endFetched(context, arrival, outcome);
  switch (outcome.type) {
    case "taken": {
      const { crl } = outcome;
      for (const giver of peer === undefined ? book.wants.giversOf(sha256) : [peer]) book.neighbours.forgive(giver);
      if (book.wants.remove(sha256)) stopPull(args, sha256);
      book.learned(crl, bytes);
      dropUnwanted(args);
      tellAll(args);
      return reportTaken(context, crl);
    }
    case "ahead": {
      book.wants.remove(sha256);
      book.keepAhead(arrival, outcome.until.getTime());
      const message = `Revocation list ${sha256.slice(0, 16)} is kept aside until ${outcome.until.toISOString()}`;
      ports.report({ level: "warn", event: "crl.ahead", message, fields: { sha256 } });
      return enqueue.raise({ type: "crl.due" });
    }
    case "old":
      return void book.wants.remove(sha256);
    case "lost":
      book.wants.wasLost(sha256);
      book.wantFrom(sha256, book.neighbours.toldOf(sha256).keys());
      return enqueue.raise({ type: "crl.look" });
    case "wrong": {
      // Of bytes that a server gave no peer is to blame, and what was pulled of the list is another file.
      if (urls !== undefined) return;
      const giver = peer ?? book.wants.wasWrong(sha256);
      if (giver !== undefined) blame(args, giver, outcome.detail);
      // Others may have told the same list while false bytes of it waited.
      if (peer !== undefined) {
        book.wantFrom(sha256, [...book.neighbours.toldOf(sha256).keys()].filter((each) => each !== peer));
      }
      return enqueue.raise({ type: "crl.look" });
    }
  }
}

/** What arrived of lists that were given up was removed: they may be pulled again. */
export function endDrop(
  { context: { book }, enqueue }: ExchangeArgs,
  { lists }: { readonly lists: readonly string[] },
): void {
  book.wants.dropped(lists);
  enqueue.raise({ type: "crl.look" });
}

function reportTaken(
  { ports }: ExchangeArgs["context"],
  { key: issuer, scope, number, baseNumber, sizeBytes, domain, sha256 }: Extract<
    Taken["outcome"],
    { type: "taken" }
  >["crl"],
): void {
  const what = baseNumber === undefined ? "revocation list" : "delta list";
  ports.report({
    level: "info",
    event: "crl.taken",
    message: `Took ${what} ${number} of issuer ${issuer.slice(0, 16)} (${sizeBytes} bytes)`,
    fields: { issuer, scope, number, baseNumber, sizeBytes, domain, sha256 },
  });
}

/** Lists whose time has come arrive. */
export function due({ context: { book }, enqueue }: ExchangeArgs): void {
  const waitMs = book.takeDue();
  enqueue.cancel("due"); // another event of the same id does not take its place
  enqueue.raise({ type: "crl.arrived" });
  if (waitMs !== undefined) enqueue.raise({ type: "crl.due" }, { delay: Math.min(waitMs, aheadLookMs), id: "due" });
}

// ── HTTP ──

/** The input of a round of fetching: what the node's own domain has issued by. */
export function fetchInput({ ports, stateDir, urls, etags, book }: ExchangeArgs["context"]) {
  const issuers = book.issuersOf(ownDomain).map(({ key }) => key);
  const held = (issuer: string, kind: "complete" | "delta") => book.heldOf(issuer, kind);
  return { ports, stateDir, urls, issuers, held, etags };
}

/** A list that was fetched is in its place, or is none: then its server's ETag must not keep the list away that it is of. */
function endFetched(
  { book, ports, etags, useless }: ExchangeArgs["context"],
  { sha256, urls = [] }: Arrival,
  outcome: Taken["outcome"],
): void {
  const isOfUse = outcome.type === "taken" || outcome.type === "ahead" || book.isHeld(sha256);
  for (const url of urls) {
    if (!isOfUse) etags.delete(url);
    if (outcome.type !== "wrong") {
      useless.delete(url);
      continue;
    }
    if (useless.get(url) === outcome.detail) continue;
    useless.set(url, outcome.detail);
    const { message } = new HttpFailed({ url, detail: outcome.detail });
    ports.report({ level: "warn", event: "crl.unfetched", message, fields: { url } });
  }
}

/** A round of fetching is over. */
export function fetched({ context: { book, ports }, enqueue }: ExchangeArgs, { arrivals, failures }: Fetched): void {
  for (const arrival of arrivals) book.arrived(arrival);
  for (const { message, url } of failures) {
    ports.report({ level: "warn", event: "crl.unfetched", message, fields: { url } });
  }
  enqueue.assign({ isReached: failures.length === 0 });
  enqueue.raise({ type: "crl.arrived" });
}
