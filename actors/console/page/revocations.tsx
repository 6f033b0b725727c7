/**
 * Revocation lists in force, and how far each has come among the connected peers.
 *
 * @module
 */
import type { ShownList, ShownTravel } from "../../node/shown_node.ts";
import { away, clock, shortPeer } from "./format.ts";
import { type Parts, useNow, useShown } from "./store.ts";
import { Table } from "./table.tsx";

/** The view. */
export function Revocations() {
  const { parts } = useShown();
  return (
    <>
      <h1>Revocations</h1>
      {parts.kind === "ca" ? <Published parts={parts} /> : <InForce parts={parts} />}
    </>
  );
}

function Published(
  { parts: { crl, root_list: rootList, root_list_ends: ends, issuers = [] } }: { readonly parts: Parts },
) {
  const now = useNow();
  return (
    <>
      <p class="answer">
        {crl === null || crl === undefined ? "No revocation list was published yet." : (
          <>
            Newest revocation list: number <strong>{crl.number}</strong>, next update {away(crl.next_update, now)}
          </>
        )}
      </p>
      <p>
        List of the root: {rootList}
        {ends !== null && ends !== undefined && `, ends ${away(ends, now)}`}
      </p>
      <p class="hint">
        A CA does not know which nodes have its list. The console of a gateway shows that of its peers.
      </p>
      <Table
        caption="Issuers"
        rows={issuers}
        keyOf={({ id }) => id}
        columns={[
          { head: "Subject", cell: ({ subject }) => subject },
          { head: "State", cell: ({ state, revoked }) => revoked ? <strong class="bad">revoked</strong> : state },
          { head: "Ends", cell: ({ ends }) => <time dateTime={ends} title={clock(ends)}>{away(ends, now)}</time> },
          { head: "Certificates", cell: ({ certificates }) => certificates, isNumber: true },
        ]}
        empty="No issuer is known yet."
      />
    </>
  );
}

function InForce({ parts: { trust, travels = [], peers = [] } }: { readonly parts: Parts }) {
  const names = new Map(peers.map(({ peer, name }) => [peer, name]));
  return (
    <>
      <Lists lists={trust?.lists ?? []} />
      {travels.map((travel) => (
        <Travel key={`${travel.issuer} ${travel.scope} ${travel.kind}`} travel={travel} names={names} />
      ))}
      {travels.length === 0 && <p class="hint">This node exchanges no revocation lists with its peers.</p>}
    </>
  );
}

function Lists({ lists }: { readonly lists: readonly ShownList[] }) {
  const now = useNow();
  return (
    <Table
      caption="Lists in force"
      rows={lists}
      keyOf={({ issuer, scope, domain, number }) => `${domain} ${issuer} ${scope} ${number}`}
      columns={[
        { head: "Issuer", cell: ({ issuer }) => issuer },
        { head: "Domain", cell: ({ domain }) => domain ?? "own" },
        { head: "Covers", cell: ({ scope }) => scope },
        { head: "Number", cell: ({ number }) => number ?? "–", isNumber: true },
        { head: "Entries", cell: ({ entries }) => entries, isNumber: true },
        {
          head: "Made",
          cell: ({ thisUpdate }) => <time dateTime={thisUpdate} title={clock(thisUpdate)}>{away(thisUpdate, now)}
          </time>,
        },
        {
          head: "Next update",
          cell: ({ nextUpdate }) =>
            Date.parse(nextUpdate) < now
              ? <strong class="bad">overdue, {away(nextUpdate, now)}</strong>
              : away(nextUpdate, now),
        },
      ]}
      empty="This node has no revocation list."
    />
  );
}

const words = {
  has: "has it",
  sent: "was sent it",
  older: "has an older one",
  newer: "has a newer one",
  unknown: "not known",
} as const;

function Travel({ travel, names }: { readonly travel: ShownTravel; readonly names: ReadonlyMap<string, string> }) {
  const { number, issuerName, kind, peers } = travel;
  const having = peers.filter(({ state }) => state === "has" || state === "newer").length;
  const sent = peers.filter(({ state }) => state === "sent").length;
  return (
    <>
      <p class="answer">
        List <strong>{number}</strong> of {issuerName}
        {kind === "delta" ? " (delta)" : ""}: <strong>{having} of {peers.length}</strong> connected peers have it
        {sent > 0 && `, ${sent} were sent it and have not said more`}
      </p>
      <Table
        caption={`Who has list ${number}`}
        rows={peers}
        keyOf={({ peer }) => peer}
        textOf={({ peer, state }) => `${names.get(peer) ?? ""} ${peer} ${words[state]}`}
        columns={[
          { head: "Peer", cell: ({ peer }) => names.get(peer) ?? "–" },
          { head: "State", cell: ({ state }) => <span class={state === "older" ? "warn" : ""}>{words[state]}</span> },
          { head: "Number", cell: ({ number }) => number ?? "–", isNumber: true },
          { head: "PeerID", cell: ({ peer }) => <code title={peer}>{shortPeer(peer)}</code> },
        ]}
        empty="No peer is connected."
      />
    </>
  );
}
