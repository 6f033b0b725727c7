/**
 * The console's page.
 *
 * @module
 */
import { type ComponentType, render } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { AuditView } from "./audit.tsx";
import { Certificates } from "./certificates.tsx";
import { takeKey } from "./connection.ts";
import { Machines } from "./machines.tsx";
import { NodeView } from "./node_view.tsx";
import { Refusals } from "./refusals.tsx";
import { Revocations } from "./revocations.tsx";
import { begin, useShown, useView } from "./store.ts";
import { Trainings } from "./trainings.tsx";

const views: Readonly<Record<string, readonly [name: string, view: ComponentType]>> = {
  node: ["Network", NodeView],
  certificates: ["Certificates", Certificates],
  revocations: ["Revocations", Revocations],
  refusals: ["Refusals", Refusals],
  trainings: ["Trainings", Trainings],
  machines: ["Machines", Machines],
  audit: ["Audit", AuditView],
};

const links = {
  connecting: "connecting",
  live: "live",
  lost: "not connected: shown is what was known last",
  ended: "the session is over",
} as const;

function Page() {
  const { link, parts } = useShown();
  const view = useView();
  const main = useRef<HTMLElement>(null);
  const drawn = useRef(false);
  const [, View] = views[view] ?? views["node"] ?? ["", NodeView];
  const name = parts.kind === "ca" ? parts.domain : parts.name;
  useEffect(() => {
    document.title = `${name ?? "Hypha"} – console`;
  }, [name]);
  useEffect(() => {
    if (drawn.current) main.current?.focus({ preventScroll: true }); // a screen reader begins with the new view
    scrollTo(0, 0);
    drawn.current = true;
  }, [view]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), main.current?.focus())}>
        Skip to content
      </a>
      <header>
        <p class="name">
          <strong>{name ?? "…"}</strong> <span class="role">{parts.kind === "ca" ? "ca" : parts.role}</span>
        </p>
        <p class={`link ${link}`} role="status">{links[link]}</p>
        <nav aria-label="Views">
          {Object.entries(views).map(([path, [title]]) => (
            <a key={path} href={`#/${path}`} aria-current={path === view ? "page" : undefined}>{title}</a>
          ))}
        </nav>
      </header>
      <main ref={main} tabIndex={-1} id="main">
        {link === "ended" ? <Ended /> : parts.kind === undefined ? <p>Connecting …</p> : <View />}
      </main>
    </>
  );
}

function Ended() {
  return (
    <div role="alert">
      <h1>The session is over</h1>
      <p>
        The program was started again. Open the address that its log shows now: the line <code>console.listening</code>.
      </p>
    </div>
  );
}

takeKey();
begin();
const place = document.getElementById("app");
if (place !== null) render(<Page />, place);
