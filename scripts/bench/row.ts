/**
 * One row of the performance table: our figure, a peer's in the same run, and the target.
 *
 * @module
 */

/**
 * The data of a row. `ratio` is `value / peerValue`, and the target applies to it; where there is none, the target applies to the
 * value, and a peer is only shown.
 */
export interface BenchRow {
  readonly id: string;
  readonly runtime: "node" | "deno";
  readonly what: string;
  readonly unit: string;
  readonly value: number;
  readonly peer: string | null;
  readonly peerValue: number | null;
  readonly ratio: number | null;
  readonly op: "<=" | ">=";
  readonly target: number;
  readonly met: boolean;
}

/** Makes a row of a measurement and prints it on standard error. */
export function makeRow(
  measured: Pick<BenchRow, "id" | "what" | "unit" | "value" | "op" | "target"> & {
    readonly peer?: { readonly name: string; readonly value: number };
    /** Shown as the row's peer, and not compared. */
    readonly beside?: { readonly name: string; readonly value: number };
  },
): BenchRow {
  const { beside, value, op, target, ...rest } = measured;
  const ratio = measured.peer === undefined ? null : value / measured.peer.value;
  const peer = measured.peer ?? beside;
  const compared = ratio ?? value;
  const row: BenchRow = {
    id: rest.id,
    runtime: "Deno" in globalThis ? "deno" : "node",
    what: rest.what,
    unit: rest.unit,
    value: round(value),
    peer: peer?.name ?? null,
    peerValue: peer === undefined ? null : round(peer.value),
    ratio: ratio === null ? null : round(ratio),
    op,
    target,
    met: op === "<=" ? compared <= target : compared >= target,
  };
  const figure = row.ratio === null ? `${row.value} ${row.unit}` : `${row.ratio} ×`;
  console.error(`  ${row.id} (${row.runtime}): ${figure}, ${op} ${target}${row.met ? "" : ": not met"}`);
  return row;
}

/** The middle one; of an even number the upper. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

/** What one round came to: in a second by the clock, and in a second of processor time of both ends. */
export interface Speed {
  readonly perSecond: number;
  readonly perCpuSecond: number;
}

/**
 * Makes two rows of the medians of the rounds: one by the clock and, with `.cpu` after its id, one by processor time, which
 * other work on the machine changes less.
 */
export function speedRows(
  id: string,
  what: string,
  unit: string,
  { ours, peer, theirs, target }: {
    readonly ours: readonly Speed[];
    readonly peer: string;
    readonly theirs: readonly Speed[];
    readonly target: number;
  },
): BenchRow[] {
  const row = (suffix: string, by: string, kind: keyof Speed) =>
    makeRow({
      id: `${id}${suffix}`,
      what: `${what}${by}`,
      unit,
      value: median(ours.map((speed) => speed[kind])),
      peer: { name: peer, value: median(theirs.map((speed) => speed[kind])) },
      op: ">=",
      target,
    });
  return [row("", "", "perSecond"), row(".cpu", ", by processor time of both ends", "perCpuSecond")];
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
