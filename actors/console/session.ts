/**
 * The secrets of one run of a console: the token of its address, the cookie, and the page's key.
 *
 * A browser sends cookies to every port of an address, so the cookie alone opens nothing but the page itself. The page's key is in
 * storage that belongs to one origin, port included, and comes with each request of the page in a header of its own. A page of
 * another origin can set neither.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

/** Bytes of each secret: twice the least that OWASP recommends for session identifiers (64 bits of entropy, ASVS 3.2.2). */
export const secretBytes = 16;
/** The header that carries the page's key, in the spelling of Node. */
export const keyHeader = "x-hypha-console";

/** The secrets. They last as long as the process. */
export interface ConsoleSession {
  /** In the address that is printed at the start. */
  readonly token: string;
  /** Value of the cookie. */
  readonly cookie: string;
  /** The page's key. */
  readonly key: string;
}

/** Draws the secrets of a run. */
export function makeSession(): ConsoleSession {
  const draw = () => randomBytes(secretBytes).toString("base64url");
  return { token: draw(), cookie: draw(), key: draw() };
}

/** Whether a text is the secret; takes as long for each text. */
export function isSecret(text: string | undefined, secret: string): boolean {
  const digest = (of: string) => createHash("sha256").update(Buffer.from(of)).digest();
  return text !== undefined && timingSafeEqual(digest(text), digest(secret));
}

/** The cookie's name. Consoles of several nodes on one machine share their cookies, so the port is part of it. */
export const cookieName = (port: number): string => `hypha-console-${port}`;

/** The value of a cookie in a `Cookie` header; undefined where it is missing, or there twice. */
export function cookieValue(header: string | undefined, name: string): string | undefined {
  const values = (header ?? "").split(";").flatMap((pair) => {
    const equals = pair.indexOf("=");
    return equals > 0 && pair.slice(0, equals).trim() === name ? [pair.slice(equals + 1).trim()] : [];
  });
  return values.length === 1 ? values[0] : undefined;
}
