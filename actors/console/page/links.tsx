/**
 * The node in the middle, its peers around it: a ring for each role.
 *
 * @module
 */
import { useMemo } from "preact/hooks";
import type { ShownPeer } from "../../node/shown_node.ts";
import type { Parts } from "./store.ts";

const [width, height] = [900, 420];
const rings = ["gateway", "ca", "scheduler", "data", "worker"] as const;
/** With more peers their names would lie over each other. */
const namedMax = 40;

interface Placed {
  readonly peer: ShownPeer;
  readonly x: number;
  readonly y: number;
}

function place(peers: readonly ShownPeer[]): readonly Placed[] {
  const unique = [...new Map(peers.map((peer) => [peer.peer, peer])).values()];
  const used = [...rings, null].filter((role) => unique.some((peer) => ringOf(peer) === role));
  return used.flatMap((role, index) => {
    const all = unique.filter((peer) => ringOf(peer) === role);
    const part = 0.35 + 0.65 * (index + 1) / used.length;
    // Places on a ring stay where they are while some peers come and go.
    const places = all.length > namedMax ? Math.ceil(all.length / namedMax) * namedMax : all.length;
    return all.map((peer, order): Placed => {
      const angle = 2 * Math.PI * (order + (index % 2) / 2 + 0.25) / places;
      return {
        peer,
        x: width / 2 + Math.cos(angle) * part * (width / 2 - 90),
        y: height / 2 + Math.sin(angle) * part * (height / 2 - 30),
      };
    });
  });
}

const ringOf = ({ role }: ShownPeer) => rings.find((ring) => ring === role) ?? null;

/** Draws the picture. */
export function Links({ parts: { peers = [], name, role } }: { readonly parts: Parts }) {
  const drawn = useMemo(() => draw(peers), [peers]);
  const roles = [...new Set(peers.map((peer) => peer.role ?? "no role"))];
  const counts = roles.map((each) => `${peers.filter((peer) => (peer.role ?? "no role") === each).length} ${each}`);
  const label = `${name ?? "This node"} is connected with: ${counts.join(", ") || "no peer"}`;
  return (
    <figure>
      <svg viewBox={`0 0 ${width} ${height}`} role="img" aria-label={label}>
        {drawn}
        <g class="own">
          <rect x={width / 2 - 70} y={height / 2 - 16} width="140" height="32" rx="4" />
          <text x={width / 2} y={height / 2 + 5}>{name ?? role ?? ""}</text>
        </g>
      </svg>
      <figcaption>
        <span class="key role-gateway">gateway</span> <span class="key role-scheduler">scheduler</span>{" "}
        <span class="key role-worker">worker</span> <span class="key role-data">data</span>{" "}
        <span class="key role-ca">ca</span>{" "}
        <span class="hint">
          Dashed: relayed. A node knows its own connections only; the console of another node shows that one's.
        </span>
      </figcaption>
    </figure>
  );
}

function draw(peers: readonly ShownPeer[]) {
  const placed = place(peers);
  return placed.length > namedMax ? drawDots(placed) : (
    <>
      {placed.map(({ peer, x, y }) => (
        <line
          key={`l ${peer.peer}`}
          x1={width / 2}
          y1={height / 2}
          x2={x}
          y2={y}
          class={peer.relayed ? "relayed" : ""}
        />
      ))}
      {placed.map(({ peer, x, y }) => (
        <g key={peer.peer} class={`peer role-${ringOf(peer) ?? "none"}`}>
          <circle cx={x} cy={y} r="8">
            <title>{`${peer.name}, ${peer.role ?? "no role"}, ${peer.direction}`}</title>
          </circle>
          <text x={x} y={y > height / 2 ? y + 22 : y - 14}>{peer.name.slice(0, 24)}</text>
        </g>
      ))}
    </>
  );
}

/** Many peers: one path for all lines, and one for the dots of each role, so that a thousand of them take no time. */
function drawDots(placed: readonly Placed[]) {
  const at = ({ x, y }: Placed) => `${x.toFixed(1)} ${y.toFixed(1)}`;
  const lines = (all: readonly Placed[]) => all.map((each) => `M${width / 2} ${height / 2}L${at(each)}`).join("");
  const roles = new Map<string, Placed[]>();
  for (const each of placed) {
    const role = ringOf(each.peer) ?? "none";
    const same = roles.get(role);
    if (same === undefined) roles.set(role, [each]);
    else same.push(each);
  }
  return (
    <>
      <path class="lines" d={lines(placed.filter(({ peer }) => !peer.relayed))} />
      <path class="lines relayed" d={lines(placed.filter(({ peer }) => peer.relayed))} />
      {[...roles].map(([role, all]) => (
        <path
          key={role}
          class={`dots role-${role}`}
          d={all.map((each) => `M${at(each)}h0`).join("")}
        />
      ))}
    </>
  );
}
