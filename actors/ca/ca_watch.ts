/**
 * How a program follows the requests to a CA.
 *
 * @module
 */
import type { AdminRoute, AdminRoutes } from "../admin/serve_admin.ts";

/** A request to the HTTPS port, or an operator's to the admin socket. */
export interface WatchedRequest {
  readonly port: "https" | "admin";
  readonly method: string;
  /** Without a query. */
  readonly path: string;
}

/** Is told of a request; what it returns is told the status of the answer. */
export type CaWatch = (request: WatchedRequest) => (status: number) => void;

/** The status of a request that ended without an answer. */
export const failedStatus = 500;

/** Wraps the routes that change something. */
export function watchRoutes(routes: AdminRoutes, watch: CaWatch): AdminRoutes {
  const wrapped = Object.entries(routes).map(([name, route]) => {
    const [method = "", path = ""] = name.split(" ", 2);
    if (typeof route !== "function" || method === "GET") return [name, route];
    return [name, Object.assign(watched(route, () => watch({ port: "admin", method, path })), route)];
  });
  return Object.fromEntries(wrapped) as AdminRoutes;
}

function watched(route: AdminRoute, begin: () => (status: number) => void): AdminRoute {
  return async (body) => {
    const ended = begin();
    try {
      const answer = await route(body);
      ended(answer.status);
      return answer;
    } catch (error) {
      ended(failedStatus);
      throw error;
    }
  };
}
