/**
 * Decides about a request to a console before anything of it has an effect.
 *
 * In order: the host (a name that another site points at this machine is refused: DNS rebinding), the origin, the session's cookie, and,
 * for whatever is not a part of the page itself, the page's key.
 *
 * @module
 */
import type { IncomingHttpHeaders } from "node:http";
import { type ConsoleSession, cookieName, cookieValue, isSecret, keyHeader } from "./session.ts";

/** A request, as far as the decision needs it. */
export interface AskedRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
}

/** What a console compares requests with. */
export interface AdmittingConsole {
  /** `127.0.0.1:9465`. */
  readonly authority: string;
  readonly port: number;
  readonly session: ConsoleSession;
}

/** Why a request is refused. */
export interface RefusedRequest {
  readonly type: "refused";
  readonly status: number;
  readonly code: "wrong-host" | "wrong-origin" | "wrong-token" | "no-session" | "no-key";
  readonly error: string;
}

/** The decision. `entered`: the address was opened, and the session begins. */
export type Admission = RefusedRequest | { readonly type: "admitted" } | { readonly type: "entered" };

const refused = (status: number, code: RefusedRequest["code"], error: string): RefusedRequest => ({
  type: "refused",
  status,
  code,
  error,
});

/** Paths of the page's own parts. A browser asks for them without the key. */
export const pagePaths = ["/", "/page.js", "/page.css", "/favicon.ico"] as const;
const isPagePath = (path: string) => (pagePaths as readonly string[]).includes(path);

/** Decides. */
export function admitRequest({ method, url, headers }: AskedRequest, served: AdmittingConsole): Admission {
  const { authority, port, session } = served;
  if (headers.host !== authority) {
    return refused(421, "wrong-host", `this console answers requests to http://${authority} only`);
  }
  const parsed = URL.parse(url, `http://${authority}`);
  const [path, token] = [parsed?.pathname ?? "", parsed?.searchParams.get("token")];
  const isEntry = method === "GET" && path === "/" && token !== null && token !== undefined;
  const outside = refuseOrigin({ method, headers }, authority, isEntry || (method === "GET" && path === "/"));
  if (outside !== undefined) return outside;
  if (isEntry) {
    return isSecret(token, session.token)
      ? { type: "entered" }
      : refused(401, "wrong-token", "the token is not this run's: open the address that the node's log shows");
  }
  if (!isSecret(cookieValue(headers.cookie, cookieName(port)), session.cookie)) {
    return refused(401, "no-session", "there is no session: open the address that the node's log shows");
  }
  const key = headers[keyHeader];
  if (isPagePath(path) || isSecret(typeof key === "string" ? key : undefined, session.key)) return { type: "admitted" };
  return refused(403, "no-key", "the request does not come from this console's page: open its address again");
}

/**
 * Browsers name the origin of every request that changes something, and newer ones how a request came about (Fetch Metadata). A page is
 * opened from anywhere; all else comes from the page.
 */
function refuseOrigin(
  { method, headers }: Pick<AskedRequest, "method" | "headers">,
  authority: string,
  opensPage: boolean,
): RefusedRequest | undefined {
  const { origin } = headers;
  const site = headers["sec-fetch-site"];
  const isForeign = origin !== undefined ? origin !== `http://${authority}` : method !== "GET";
  if (isForeign) return refused(403, "wrong-origin", "the request comes from another page");
  if (opensPage || site === undefined || site === "same-origin") return undefined;
  return refused(403, "wrong-origin", "the request comes from another site");
}
