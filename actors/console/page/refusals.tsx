/**
 * Refusals: how many over time, and the last of each code with what to do about it.
 *
 * @module
 */
import { useMemo } from "preact/hooks";
import { Chart } from "./chart.tsx";
import { away, clock } from "./format.ts";
import { useNow, useShown } from "./store.ts";
import { Table } from "./table.tsx";

/** The view. */
export function Refusals() {
  const { parts: { refusals = [], refusalHistory, kind } } = useShown();
  const now = useNow();
  const { xs, ys } = useMemo(() => ({
    xs: (refusalHistory ?? []).map(({ at }) => at / 1_000),
    ys: (refusalHistory ?? []).map(({ count }) => count),
  }), [refusalHistory]);
  if (kind === "ca") {
    return (
      <>
        <h1>Refusals</h1>
        <p class="hint">A CA's refusals are in its audit log. Nodes show theirs here.</p>
      </>
    );
  }
  const total = refusals.reduce((sum, { count }) => sum + count, 0);
  return (
    <>
      <h1>Refusals</h1>
      <p class="answer">
        <strong>{total}</strong> since this node started. Only this node's own are counted.
      </p>
      {xs.length > 1 && (
        <Chart
          label="Refusals in each 15 seconds"
          xs={xs}
          ys={ys}
          xLabel="time (UTC)"
          yLabel="refusals / 15 s"
          isTime
        />
      )}
      <Table
        caption="By code"
        rows={refusals}
        keyOf={({ code }) => code}
        textOf={({ code, last }) => `${code} ${last?.name ?? ""} ${last?.address ?? ""} ${last?.message ?? ""}`}
        columns={[
          { head: "Code", cell: ({ code }) => <code>{code}</code> },
          { head: "Count", cell: ({ count }) => count, isNumber: true },
          {
            head: "Last",
            cell: ({ last }) => last && <time dateTime={last.at} title={clock(last.at)}>{away(last.at, now)}</time>,
          },
          { head: "Peer", cell: ({ last }) => last?.name ?? last?.address ?? "–" },
          {
            head: "Why, and what to do",
            cell: ({ last }) =>
              last && (
                <>
                  <div>{last.message}</div>
                  <div class="do">{last.hint}</div>
                </>
              ),
          },
        ]}
        empty="This node has refused nothing."
      />
    </>
  );
}
