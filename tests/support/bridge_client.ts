/**
 * A client of the job bridge, as an executor would write one.
 *
 * @module
 */
import { request } from "node:http";

/** An answer. */
export interface Asked {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

/** What is asked. */
export interface Ask {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | undefined;
  /** Called with each piece of the answer, and with what ends the connection. */
  readonly onBody?: (text: string, close: () => void) => void;
}

/** One request over a Unix socket; resolves when the answer has ended, also where `close` ended it. */
export function ask(socketPath: string, { method = "POST", path, headers = {}, body, onBody }: Ask): Promise<Asked> {
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { "content-length": String(new TextEncoder().encode(body).length) };
    const asking = request({ socketPath, method, path, agent: false, headers: { ...headers, ...length } });
    asking.once("response", (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (piece: string) => {
        text += piece;
        onBody?.(piece, () => asking.destroy());
      });
      const done = () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text });
      response.once("end", done).once("error", done).once("close", done);
    });
    asking.once("error", reject);
    asking.end(body);
  });
}

/** A JSON POST. */
export function askJson(socketPath: string, path: string, value: unknown, token?: string): Promise<Asked> {
  const headers = {
    "content-type": "application/json",
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  };
  return ask(socketPath, { path, headers, body: JSON.stringify(value) });
}
