/**
 * What the page knows, and how its views read it.
 *
 * @module
 */
import { useEffect, useState } from "preact/hooks";
import type { ShownCa } from "../../ca/operator_views.ts";
import type { ShownNode } from "../../node/shown_node.ts";
import type { ShownTraining } from "../../scheduler/status.ts";
import type { RefusalSample } from "../refusal_history.ts";
import { followFeed, type Link } from "./connection.ts";

/** The parts that the feed has sent. */
export interface Parts extends Partial<Omit<ShownNode, "state">>, Partial<Omit<ShownCa, "certificates">> {
  readonly kind?: "node" | "ca";
  readonly state?: string;
  /** Routes that the program has and the page may use. */
  readonly acts?: readonly string[];
  /** Null while the scheduler cannot say them. */
  readonly trainings?: readonly ShownTraining[] | null;
  readonly refusalHistory?: readonly RefusalSample[];
  /** How many gates are in each state. */
  readonly gates?: Readonly<Record<string, number>>;
  /** Of a CA: how many certificates have not ended. */
  readonly certificates?: number;
}

/** What is shown now. */
export interface Shown {
  readonly link: Link;
  readonly parts: Parts;
}

let shown: Shown = { link: "connecting", parts: {} };
const listeners = new Set<() => void>();
let isDue = false;

/** Redraws once for all that arrives before the next frame. */
function change(next: Partial<Shown>): void {
  shown = { ...shown, ...next };
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    for (const listener of listeners) listener();
  });
}

/** Starts to follow the feed. */
export function begin(): void {
  void followFeed({
    onLink: (link) => change({ link }),
    onPart: (name, value) => change({ parts: { ...shown.parts, [name]: value } }),
  });
}

/** What is shown now; the component is drawn again when it changes. */
export function useShown(): Shown {
  const [, draw] = useState(shown);
  useEffect(() => {
    const listener = () => draw(shown);
    listeners.add(listener);
    listener();
    return () => void listeners.delete(listener);
  }, []);
  return shown;
}

/** The time, in milliseconds; the component is drawn again each ten seconds. */
export function useNow(): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 10_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}

/** The view in the address: `#/refusals`. */
export function useView(): string {
  const [view, setView] = useState(viewOf(location.hash));
  useEffect(() => {
    const listener = () => setView(viewOf(location.hash));
    addEventListener("hashchange", listener);
    return () => removeEventListener("hashchange", listener);
  }, []);
  return view;
}

const viewOf = (hash: string) => /^#\/([a-z]+)/.exec(hash)?.[1] ?? "node";
