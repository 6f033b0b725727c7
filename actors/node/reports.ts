/**
 * What a node's machine writes into the log about itself.
 *
 * @module
 */
import type { RoleConfig } from "../config/config.ts";
import { lacking, nodeSetup } from "./node_setup.ts";

/** Reports that peers refuse this node from now on. Work under way continues as far as peers allow it. */
export const reportOwnRefused = nodeSetup.createAction(({ context, event }) => {
  if (event.type !== "identity.refused") return;
  const { file, code, hint, refusal } = event.error;
  context.ports.report({
    level: "error",
    event: "identity.refused",
    message: `Own trust refuses own certificate ${file} now, and so do peers that trust the same: ${refusal.message}`,
    fields: { file, code, hint },
  });
});

/** Reports the bound addresses and the announced ones; they can differ. */
export const reportListening = nodeSetup.createAction(({ context, event }) => {
  if (event.type !== "listening") return;
  const { config, identity, ports } = context;
  const { addresses, bound, left } = event;
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
});

/** Reports why the node announces no address, or none yet. */
function announcesNone({ role, excludeCidr, relayCircuit }: RoleConfig): string {
  const excluded = excludeCidr.length > 0 ? "what it listens on lies inside exclude_cidr" : "it listens on none";
  if (role !== "gateway" && relayCircuit) {
    return `announces no address of its own (${excluded}), a gateway's relay once it joined`;
  }
  return `announces no address (${excluded}): others cannot find it; set external_addresses, or change exclude_cidr`;
}

export const reportJoining = nodeSetup.createAction(({ context }) => {
  context.ports.report({
    level: "warn",
    event: "node.joining",
    message: `Cannot join yet: waiting for ${lacking(context).join(", ")}`,
    fields: { waitingFor: lacking(context) },
  });
});

export const reportReady = nodeSetup.createAction(({ context }) => {
  const { role } = context.config;
  context.ports.report({
    level: "info",
    event: "node.ready",
    message: `Ready as ${role}`,
    fields: { role, peer: context.identity?.peer, name: context.identity?.name, peers: context.peers.length },
  });
});

export const reportDraining = nodeSetup.createAction(({ context }) => {
  const { exit } = context;
  context.ports.report({
    level: exit.type === "failed" ? "error" : "info",
    event: "node.draining",
    message: exit.type === "failed" ? exit.error.message : `Taking leave: ${exit.reason}`,
    fields: { reason: exit.type === "failed" ? exit.error.stage : exit.reason },
  });
});

/** Reports requests that do not decode. The peer gets no answer, so this line is the only trace of a version mismatch or a broken peer. */
export const reportMalformed = nodeSetup.createAction(({ context, event }) => {
  if (event.type !== "request.malformed") return;
  const { peer, identity: { name }, protocol, detail, untold } = event;
  const more = untold === 0 ? "" : ` (and ${untold} more since the last such line)`;
  context.ports.report({
    level: "warn",
    event: "request.malformed",
    message: `Cannot read a request of ${name} (${peer}) over ${protocol}: ${detail}${more}`,
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
});
