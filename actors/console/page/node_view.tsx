/**
 * The node itself, its connections as a picture and as a table, and what its operator can do with it.
 *
 * @module
 */
import type { ShownPeer } from "../../node/shown_node.ts";
import { Act } from "./act.tsx";
import { away, clock, shortPeer } from "./format.ts";
import { Links } from "./links.tsx";
import { type Parts, useNow, useShown } from "./store.ts";
import { Table } from "./table.tsx";

/** The first view. */
export function NodeView() {
  const { parts } = useShown();
  const { peers = [], gateways = [], leases = [], jobs = [], kind } = parts;
  return (
    <>
      <h1>{kind === "ca" ? "Certification authority" : "Network"}</h1>
      <Facts parts={parts} />
      <Acts parts={parts} />
      {kind === "node" && (
        <>
          <Links parts={parts} />
          <Peers peers={peers} />
          <Table
            caption="Gateways"
            rows={gateways}
            keyOf={({ address }) => address}
            columns={[
              { head: "Address", cell: ({ address }) => <code>{address}</code> },
              { head: "Link", cell: ({ linked }) => linked ? "linked" : <strong class="bad">not linked</strong> },
            ]}
            empty="This node joins through no gateway."
          />
        </>
      )}
      {parts.role === "worker" && <Work leases={leases} jobs={jobs} />}
    </>
  );
}

function Facts({ parts }: { readonly parts: Parts }) {
  const now = useNow();
  const facts: [string, string][] = parts.kind === "ca"
    ? [
      ["Domain", parts.domain ?? ""],
      ["URL", parts.url ?? ""],
      ["Issues", parts.problem ?? "yes"],
      [
        "Issuer ends",
        parts.issuer_ends === undefined ? "" : `${clock(parts.issuer_ends)} (${away(parts.issuer_ends, now)})`,
      ],
      ["Certificates", String(parts.certificates ?? "")],
    ]
    : [
      ["State", parts.waitsFor?.length ? `${parts.state}, waits for ${parts.waitsFor.join(", ")}` : parts.state ?? ""],
      ["PeerID", parts.peer ?? "–"],
      ["Started", parts.started === undefined ? "" : `${clock(parts.started)} (${away(parts.started, now)})`],
      ["Connections", `${parts.connections?.open ?? 0} of at most ${parts.connections?.max ?? 0}`],
      ["Version", parts.version ?? ""],
    ];
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Acts({ parts: { name, connections, role } }: { readonly parts: Parts }) {
  const open = connections?.open ?? 0;
  return (
    <div class="buttons">
      <Act
        path="/reload"
        short="Reload"
        title="Reload files"
        does={[
          "The node reads its certificate, trust, revocation lists and rules again.",
          "Connections that the new files do not allow are closed. A file with a fault changes nothing.",
        ]}
        done={() => "The node reads its files. The result is in its log."}
      />
      <Act
        path="/renew"
        short="Renew certificate"
        title="Renew the certificate"
        does={["The node asks its CA for a new certificate now.", "Connections go on."]}
        done={() => "The renewal has begun. Its result is in the view Certificates."}
      />
      <Act
        path="/drain"
        short="Drain"
        title={`Drain ${name ?? "the node"}`}
        does={[
          `The ${role ?? "node"} takes no new work, ends what it began, and closes its ${open} connections.`,
          "Then the program ends. This console ends with it.",
        ]}
        body={{ reason: "its operator asked for it in the console" }}
        done={({ withinMs }) => `The node ends within ${Math.ceil(Number(withinMs) / 1_000)} s.`}
      />
    </div>
  );
}

function Peers({ peers }: { readonly peers: readonly ShownPeer[] }) {
  const now = useNow();
  return (
    <Table
      caption="Connections"
      rows={peers}
      keyOf={({ peer, since, direction }) => `${peer} ${since} ${direction}`}
      textOf={({ name, role, peer, address }) => `${name} ${role} ${peer} ${address}`}
      columns={[
        { head: "Name", cell: ({ name }) => name },
        { head: "Role", cell: ({ role }) => role ?? "–" },
        { head: "Direction", cell: ({ direction, relayed }) => relayed ? `${direction}, relayed` : direction },
        { head: "Since", cell: ({ since }) => <time dateTime={since} title={clock(since)}>{away(since, now)}</time> },
        { head: "Address", cell: ({ address }) => <code>{address}</code> },
        { head: "PeerID", cell: ({ peer }) => <code title={peer}>{shortPeer(peer)}</code> },
      ]}
      empty="No peer is connected."
    />
  );
}

function Work({ leases, jobs }: Required<Pick<Parts, "leases" | "jobs">>) {
  const now = useNow();
  return (
    <>
      <Table
        caption="Leases"
        rows={leases}
        keyOf={({ id }) => id}
        columns={[
          { head: "Lease", cell: ({ id }) => <code>{id}</code> },
          { head: "Scheduler", cell: ({ scheduler }) => <code title={scheduler}>{shortPeer(scheduler)}</code> },
          {
            head: "Resources",
            cell: ({ resources }) => Object.entries(resources).map(([name, value]) => `${name} ${value}`).join(", "),
          },
          { head: "Ends", cell: ({ ends }) => away(ends, now) },
        ]}
        empty="The worker has given no lease."
      />
      <Table
        caption="Jobs"
        rows={jobs}
        keyOf={({ id }) => id}
        columns={[
          { head: "Job", cell: ({ id }) => <code>{id}</code> },
          { head: "Lease", cell: ({ lease }) => <code>{lease}</code> },
        ]}
        empty="The worker runs no job."
      />
    </>
  );
}
