/**
 * A line chart.
 *
 * @module
 */
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";

interface ChartProps {
  /** What it shows, for those who do not see it. */
  readonly label: string;
  readonly xs: readonly number[];
  readonly ys: readonly (number | null)[];
  readonly xLabel: string;
  readonly yLabel: string;
  /** Whether `xs` are seconds since the epoch. */
  readonly isTime?: boolean;
}

const heightPx = 200;
const darkScheme = matchMedia("(prefers-color-scheme: dark)");

/** Whether the page is dark. A canvas is drawn again when that changes. */
function useDark(): boolean {
  const [isDark, setDark] = useState(darkScheme.matches);
  useEffect(() => {
    const listener = () => setDark(darkScheme.matches);
    darkScheme.addEventListener("change", listener);
    return () => darkScheme.removeEventListener("change", listener);
  }, []);
  return isDark;
}

const minute = (seconds: number) => new Date(seconds * 1_000).toISOString().slice(11, 16);

/** Draws it as wide as its place. */
export function Chart({ label, xs, ys, xLabel, yLabel, isTime = false }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const isDark = useDark();
  useEffect(() => {
    const { current } = place;
    if (current === null) return;
    // A canvas takes colours, not CSS variables: the style sheet gives them to the place.
    const { color, borderTopColor, caretColor } = getComputedStyle(current);
    const axis = { stroke: color, grid: { stroke: borderTopColor, width: 1 }, ticks: { show: false } };
    const times = isTime ? { values: (_: uPlot, ticks: number[]) => ticks.map(minute) } : {};
    const made = new uPlot(
      {
        width: current.clientWidth,
        height: heightPx,
        scales: { x: { time: isTime } },
        legend: { show: false },
        cursor: { y: false },
        series: [
          { label: xLabel },
          { label: yLabel, stroke: caretColor, width: 2, points: { show: xs.length < 60, fill: caretColor } },
        ],
        axes: [{ ...axis, ...times, label: xLabel, labelSize: 20, size: 28 }, {
          ...axis,
          label: yLabel,
          labelSize: 20,
          size: 56,
        }],
      },
      [[], []],
      current,
    );
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: current.clientWidth, height: heightPx }));
    observer.observe(current);
    return () => {
      observer.disconnect();
      made.destroy();
    };
  }, [isTime, isDark, xLabel, yLabel]);
  useEffect(() => plot.current?.setData([[...xs], [...ys]]), [xs, ys, isDark]);
  return <div ref={place} class="chart" role="img" aria-label={label} />;
}
