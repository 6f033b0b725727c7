/**
 * Log lines of a node about itself.
 *
 * @module
 */
import type { RoleConfig } from "../config/config.ts";
import { moreOf } from "../../transport/core/rare_reports.ts";
import type { StartAnswer, TransportFact } from "../../transport/port.ts";
import type { IdentityEvent } from "../trust/identity.ts";
import { lacking, type NodeContext } from "./node_setup.ts";

interface Reporting {
  readonly context: NodeContext;
}

/** Reports that peers refuse this node from now on. Running work continues as far as peers allow it. */
export function reportOwnRefused(
  { context }: Reporting,
  { error: { file, code, hint, refusal } }: Extract<IdentityEvent, { type: "identity.refused" | "identity.revoked" }>,
): void {
  context.ports.report({
    level: "error",
    event: "identity.refused",
    message: `Own trust refuses own certificate ${file} now, and so do peers that trust the same: ${refusal.message}`,
    fields: { file, code, hint },
  });
}

/** Reports the bound addresses and the announced ones; they can differ. */
export function reportListening(
  { context: { config, identity, ports } }: Reporting,
  { addresses, bound, left }: Extract<StartAnswer, { type: "listening" }>,
): void {
  const fields = { bound, addresses, peer: identity?.peer, name: identity?.name };
  const announced = addresses.length > 0 ? `announces ${addresses.join(", ")}` : announcesNone(config);
  ports.report({
    level: addresses.length === 0 && config.role === "gateway" ? "warn" : "info",
    event: "node.listening",
    message: `Listening on ${bound.join(", ") || "no address"}; ${announced}`,
    fields,
  });
  for (const place of left) {
    const message = `Does not listen on ${place}`;
    ports.report({ level: "warn", event: "node.unlistened", message, fields: { place } });
  }
}

/** Reports why the node announces no address, or none yet. */
function announcesNone({ role, excludeCidr, relayCircuit }: RoleConfig): string {
  const excluded = excludeCidr.length > 0 ? "what it listens on lies inside exclude_cidr" : "it listens on none";
  if (role !== "gateway" && relayCircuit) {
    return `announces no address of its own (${excluded}), a gateway's relay once it joined`;
  }
  return `announces no address (${excluded}): others cannot find it; set external_addresses, or change exclude_cidr`;
}

/** Reports what the node still waits for. */
export function reportJoining({ context }: Reporting): void {
  context.ports.report({
    level: "warn",
    event: "node.joining",
    message: `Cannot join yet: waiting for ${lacking(context).join(", ")}`,
    fields: { waitingFor: lacking(context) },
  });
}

export function reportReady({ context }: Reporting): void {
  const { role } = context.config;
  context.ports.report({
    level: "info",
    event: "node.ready",
    message: `Ready as ${role}`,
    fields: {
      role,
      peer: context.identity?.peer,
      name: context.identity?.name,
      peers: new Set(context.members.map(({ peer }) => peer)).size,
    },
  });
}

/** Reports that the node drains, and why. */
export function reportDraining({ context }: Reporting): void {
  const { exit } = context;
  context.ports.report({
    level: exit.type === "failed" ? "error" : "info",
    event: "node.draining",
    message: exit.type === "failed" ? exit.error.message : `Draining: ${exit.reason}`,
    fields: { reason: exit.type === "failed" ? exit.error.stage : exit.reason },
  });
}

/**
 * Reports requests that do not decode. The peer gets no answer, so this line is the only trace of a version mismatch or a
 * broken peer.
 */
export function reportMalformed(
  { context }: Reporting,
  { peer, identity: { name }, protocol, detail, untold }: Extract<TransportFact, { type: "request.malformed" }>,
): void {
  context.ports.report({
    level: "warn",
    event: "request.malformed",
    message: `Cannot read a request of ${name} (${peer}) over ${protocol}: ${detail}${moreOf(untold)}`,
    fields: {
      peer,
      name,
      protocol,
      detail,
      untold,
      hint:
        "It got no answer. Compare the versions of both programs (--version); if that node is yours and up to date, report it with this line; if it is not, it may be hostile.",
    },
  });
}
