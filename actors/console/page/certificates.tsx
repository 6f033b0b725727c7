/**
 * Certificates, the first to end first: of a CA those of its register, of a node its own and those that its peers showed.
 *
 * @module
 */
import { useEffect, useState } from "preact/hooks";
import { ask } from "./connection.ts";
import { away, clock, duration } from "./format.ts";
import { Requests } from "./requests.tsx";
import { Revoke } from "./revoke.tsx";
import { type Parts, useNow, useShown } from "./store.ts";
import { Table } from "./table.tsx";

/** A certificate of the table. */
interface Row {
  readonly name: string;
  readonly role: string;
  readonly serial: string;
  readonly ends: string;
  readonly note: string;
}

/** A page of a CA's register. */
interface RegisterPage {
  readonly nodes: readonly {
    readonly identity: string;
    readonly serial: string;
    readonly not_after: string;
    readonly revoked?: string;
  }[];
  readonly after?: unknown;
}

/** The view. */
export function Certificates() {
  const { parts } = useShown();
  return (
    <>
      <h1>Certificates</h1>
      {parts.kind === "ca" ? <Register parts={parts} /> : <OwnAndPeers parts={parts} />}
    </>
  );
}

function OwnAndPeers({ parts }: { readonly parts: Parts }) {
  const { certificate, name, role, peers = [], renewal } = parts;
  const now = useNow();
  const own: Row[] = certificate === null || certificate === undefined ? [] : [{
    name: name ?? "this node",
    role: role ?? "",
    serial: certificate.serial ?? "",
    ends: certificate.notAfter,
    note: "this node's own",
  }];
  const others = peers.map(({ name, role, serial, notAfter }) => ({
    name,
    role: role ?? "–",
    serial,
    ends: notAfter,
    note: "",
  }));
  const unique = new Map([...own, ...others].map((row) => [`${row.serial} ${row.name}`, row]));
  const rows = [...unique.values()].toSorted((one, other) => one.ends.localeCompare(other.ends));
  return (
    <>
      {renewal !== null && renewal !== undefined && (
        <p>
          This node renews its certificate by itself: {renewal.state}
          {renewal.due !== null && `, due ${away(renewal.due, now)}`}.
          {renewal.error !== null && <strong class="bad">Last failure: {renewal.error}</strong>}
        </p>
      )}
      <p class="hint">
        This node's own certificate, and those of its connected peers. A CA's console shows all that it issued.
      </p>
      <Ends rows={rows} />
    </>
  );
}

function Register({ parts }: { readonly parts: Parts }) {
  const { nodes, more, error } = useRegister(parts);
  const rows = nodes.map(({ identity, serial, not_after: ends, revoked }): Row => {
    const [, role = "", name = identity] = /^spiffe:\/\/[^/]+\/([^/]+)\/(.+)$/.exec(identity) ?? [];
    return { name, role, serial, ends, note: revoked === undefined ? "" : `revoked ${clock(revoked)}` };
  });
  return (
    <>
      <Requests />
      {error !== "" && <p role="alert" class="bad">{error}</p>}
      <Ends rows={rows} isPartial={more !== undefined} />
      {more !== undefined && <button type="button" onClick={more}>Show more of the register</button>}
    </>
  );
}

/** As many pages of the register as were asked for, read again when its number or the revocation list changes. */
function useRegister({ certificates, crl }: Parts) {
  const [wanted, setWanted] = useState({ pages: 1 }); // a new value reads again
  const [pages, setPages] = useState<readonly RegisterPage[]>([]);
  const [error, setError] = useState("");
  useEffect(() => {
    let isOver = false;
    const read = async () => {
      const read: RegisterPage[] = [];
      do {
        const after = read.at(-1)?.after;
        const { status, body } = await ask("/ca/nodes", after === undefined ? {} : { after });
        if (isOver) return;
        if (status !== 200) return setError(String(body["error"]));
        read.push(body as unknown as RegisterPage);
      } while (read.length < wanted.pages && read.at(-1)?.after !== undefined);
      setPages(read);
      setError("");
    };
    void read();
    return () => {
      isOver = true;
    };
  }, [certificates, crl?.number, wanted]);
  const more = pages.at(-1)?.after === undefined ? undefined : () => setWanted({ pages: pages.length + 1 });
  return { nodes: pages.flatMap(({ nodes }) => nodes), more, error };
}

function Ends({ rows, isPartial = false }: { readonly rows: readonly Row[]; readonly isPartial?: boolean }) {
  const now = useNow();
  const { parts: { acts = [] } } = useShown();
  const [first] = rows.filter(({ note }) => !note.startsWith("revoked"));
  return (
    <>
      {first !== undefined && (
        <p class="answer" id="ends-first">
          Ends first: <strong>{first.name}</strong>, {clock(first.ends)} UTC ({away(first.ends, now)})
        </p>
      )}
      <Table
        caption="Ends"
        rows={rows}
        keyOf={({ serial, name }) => `${serial} ${name}`}
        textOf={({ name, role, serial }) => `${name} ${role} ${serial}`}
        columns={[
          { head: "Name", cell: ({ name }) => name },
          { head: "Role", cell: ({ role }) => role },
          { head: "Ends (UTC)", cell: ({ ends }) => <time dateTime={ends}>{clock(ends)}</time> },
          { head: "Left", cell: ({ ends }) => <Left ends={ends} now={now} />, isNumber: true },
          { head: "Serial", cell: ({ serial }) => <code title={serial}>{serial.slice(0, 16)}</code> },
          { head: "Note", cell: ({ note }) => note },
          ...(acts.includes("POST /ca/revoke")
            ? [{
              head: "Act",
              cell: ({ name, note, serial }: Row) => <Revoke name={name} serial={serial} isRevoked={note !== ""} />,
            }]
            : []),
        ]}
        empty="No certificate is known yet."
        noMatch={isPartial ? "No row of those shown matches the filter. Show more of the register." : undefined}
      />
    </>
  );
}

const soonMs = 24 * 3_600_000;

function Left({ ends, now }: { readonly ends: string; readonly now: number }) {
  const ms = Date.parse(ends) - now;
  return ms < 0 ? <strong class="bad">ended</strong> : <span class={ms < soonMs ? "warn" : ""}>{duration(ms)}</span>;
}
