/**
 * The routes of the admin socket that a console's page may use. All others stay the socket's: those that make secrets (tokens), that read
 * or write files (backups, submissions), and the log.
 *
 * @module
 */
import type { AdminRoute, AdminRoutes } from "../admin/serve_admin.ts";

/** What the page reads. */
export const consoleReads: readonly string[] = [
  "POST /trainings/status",
  "POST /trainings/logs",
  "POST /ca/nodes",
  "POST /ca/requests",
  "POST /audit/search",
  "POST /machines",
];

/** What the page lets the operator do, each after it has shown what will happen. */
export const consoleActs: readonly string[] = [
  "POST /reload",
  "POST /renew",
  "POST /drain",
  "POST /trainings/cancel",
  "POST /trainings/resume",
  "POST /ca/revoke",
  "POST /ca/decide",
];

const reachable = new Set([...consoleReads, ...consoleActs]);

/** The route that a request of the page names; undefined where there is none, or the page may not use it. */
export function consoleRoute(routes: AdminRoutes, name: string): AdminRoute | undefined {
  if (!reachable.has(name) || !Object.hasOwn(routes, name)) return undefined;
  const route = routes[name];
  return typeof route === "function" ? route : undefined;
}

/** The routes of this program that the page may use. */
export const usableRoutes = (routes: AdminRoutes): readonly string[] =>
  [...reachable].filter((name) => Object.hasOwn(routes, name));
