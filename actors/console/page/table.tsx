/**
 * A table with a filter, and pages where it is long.
 *
 * @module
 */
import type { ComponentChildren } from "preact";
import { useId, useState } from "preact/hooks";

/** Rows that are drawn at once. */
export const pageRows = 50;

/** A column. */
export interface Column<Row> {
  readonly head: string;
  readonly cell: (row: Row) => ComponentChildren;
  /** Numbers stand at the right. */
  readonly isNumber?: boolean;
}

interface TableProps<Row> {
  readonly caption: string;
  readonly rows: readonly Row[];
  readonly columns: readonly Column<Row>[];
  readonly keyOf: (row: Row) => string;
  /** The text that the filter searches; no filter where undefined. */
  readonly textOf?: (row: Row) => string;
  readonly empty: string;
  /** Shown where the filter leaves no row. */
  readonly noMatch?: string | undefined;
}

/** Draws it. */
export function Table<Row>({ caption, rows, columns, keyOf, textOf, empty, noMatch }: TableProps<Row>) {
  const [filter, setFilter] = useState("");
  const [page, setPage] = useState(0);
  const id = useId();
  const wanted = filter.toLowerCase();
  const found = textOf === undefined || wanted === ""
    ? rows
    : rows.filter((row) => textOf(row).toLowerCase().includes(wanted));
  const pages = Math.max(1, Math.ceil(found.length / pageRows));
  const at = Math.min(page, pages - 1);
  return (
    <section class="table">
      <div class="table-head">
        <h2 id={`${id}-h`}>
          {caption} <span class="count">{found.length}</span>
        </h2>
        {textOf !== undefined && rows.length > 1 && (
          <label>
            Filter{" "}
            <input type="search" value={filter} onInput={({ currentTarget }) => setFilter(currentTarget.value)} />
          </label>
        )}
      </div>
      {found.length === 0
        ? <p class="empty">{rows.length === 0 ? empty : noMatch ?? "No row matches the filter."}</p>
        : (
          <div class="scroll" tabIndex={0} role="region" aria-labelledby={`${id}-h`}>
            <table aria-labelledby={`${id}-h`}>
              <thead>
                <tr>
                  {columns.map(({ head, isNumber }) => (
                    <th key={head} scope="col" class={isNumber ? "number" : ""}>{head}</th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {found.slice(at * pageRows, (at + 1) * pageRows).map((row) => (
                  <tr key={keyOf(row)}>
                    {columns.map(({ head, cell, isNumber }) => (
                      <td key={head} data-head={head} class={isNumber ? "number" : ""}>{cell(row)}</td>
                    ))}
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      {pages > 1 && (
        <nav class="pages" aria-label={`Pages of ${caption}`}>
          <button type="button" disabled={at === 0} onClick={() => setPage(at - 1)}>Previous</button>
          <span>Page {at + 1} of {pages}</span>
          <button type="button" disabled={at === pages - 1} onClick={() => setPage(at + 1)}>Next</button>
        </nav>
      )}
    </section>
  );
}
