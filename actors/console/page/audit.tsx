/**
 * Search in the program's audit log.
 *
 * @module
 */
import { useState } from "preact/hooks";
import type { AuditRecord } from "../../audit/audit_record.ts";
import type { FoundRecords, SearchMark } from "../../audit/search_log.ts";
import { ask } from "./connection.ts";
import { clock } from "./format.ts";
import { useShown } from "./store.ts";
import { Table } from "./table.tsx";

/** The types that the choice offers; each stands for those that begin with it. */
const types = ["", "refusal", "job", "lease", "trust", "identity", "ca."] as const;

interface Query {
  readonly text: string;
  readonly type: string;
  /** As the field has it: `2026-11-29T10:19`, in UTC. */
  readonly since: string;
}

interface Found {
  readonly query: Query;
  readonly records: readonly AuditRecord[];
  readonly after: SearchMark | undefined;
}

function useSearch() {
  const [found, setFound] = useState<Found | undefined>();
  const [state, setState] = useState<"resting" | "searching" | { readonly error: string }>("resting");
  const search = async (query: Query, before?: Found) => {
    setState("searching");
    const { status, body } = await ask("/audit/search", {
      text: query.text,
      type: query.type,
      ...(query.since === "" ? {} : { since: `${query.since.slice(0, 16)}:00Z` }),
      ...(before?.after === undefined ? {} : { after: before.after }),
    });
    if (status !== 200) return setState({ error: String(body["error"] ?? status) });
    const { records, after } = body as unknown as FoundRecords;
    setFound({ query, records: [...before?.records ?? [], ...records], after });
    setState("resting");
  };
  return { found, state, search };
}

/** The view. */
export function AuditView() {
  const { parts: { acts = [] } } = useShown();
  const [query, setQuery] = useState<Query>({ text: "", type: "", since: "" });
  const { found, state, search } = useSearch();
  if (!acts.includes("POST /audit/search")) {
    return (
      <>
        <h1>Audit</h1>
        <p class="hint">
          This program keeps no audit log. Its configuration has none: write <code>[audit]</code> into it.
        </p>
      </>
    );
  }
  const change = (part: Partial<Query>) => setQuery({ ...query, ...part });
  return (
    <>
      <h1>Audit</h1>
      <p class="hint">
        The log of this program alone, the newest record first. The search does not verify it:{" "}
        <code>hypha-certutil audit verify</code> does.
      </p>
      <form class="search" onSubmit={(event) => (event.preventDefault(), void search(query))}>
        <label>
          Text{" "}
          <input
            type="search"
            maxLength={256}
            value={query.text}
            onInput={({ currentTarget }) => change({ text: currentTarget.value })}
          />
        </label>
        <label>
          Type{" "}
          <select value={query.type} onChange={({ currentTarget }) => change({ type: currentTarget.value })}>
            {types.map((type) => <option key={type} value={type}>{type === "" ? "all" : type}</option>)}
          </select>
        </label>
        <label>
          Since (UTC){" "}
          <input
            type="datetime-local"
            value={query.since}
            onInput={({ currentTarget }) => change({ since: currentTarget.value })}
          />
        </label>
        <button type="submit" disabled={state === "searching"}>Search</button>
      </form>
      {typeof state === "object" && <p role="alert" class="bad">{state.error}</p>}
      {found !== undefined && <Records found={found} />}
      {found?.after !== undefined && (
        <button
          type="button"
          disabled={state === "searching"}
          onClick={() => void search(found.query, found)}
        >
          Search older records
        </button>
      )}
    </>
  );
}

function Records({ found: { records, after } }: { readonly found: Found }) {
  return (
    <Table
      caption="Records"
      rows={records}
      keyOf={({ seq }) => String(seq)}
      columns={[
        { head: "Time (UTC)", cell: ({ ts }) => clock(ts) },
        { head: "No.", cell: ({ seq }) => seq, isNumber: true },
        { head: "Type", cell: ({ type }) => type },
        { head: "Outcome", cell: ({ outcome }) => outcome },
        { head: "Peer", cell: ({ peer }) => peer ?? "–" },
        { head: "Detail", cell: ({ detail }) => <code>{JSON.stringify(detail)}</code> },
      ]}
      empty={after === undefined ? "No record matches." : "No record matches in the part that was searched."}
    />
  );
}
