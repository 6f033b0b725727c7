/**
 * The admin socket of a scheduler, `state_dir/admin.sock`, as an actor.
 *
 * @module
 */
import { Effect } from "effect";
import { serveAdmin } from "../admin/serve_admin.ts";
import { adminSocketPath } from "../admin/socket_path.ts";
import { fromScoped } from "../runtime/scoped_actor.ts";
import type { Ports } from "../runtime/ports.ts";
import { adminRoutes, type AdminRoutesInit } from "./admin_routes.ts";

/** Sends `effect.done.admin` when it serves. */
export const adminActor = fromScoped(
  "admin",
  ({ ports, stateDir, ask }: AdminRoutesInit & { readonly ports: Ports }) =>
    Effect.as(serveAdmin(adminSocketPath(stateDir), adminRoutes({ ports, stateDir, ask })), stateDir),
);
