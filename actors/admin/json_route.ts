/**
 * A route of the admin socket whose body is JSON of a schema. The same schema checks requests and describes them.
 *
 * @module
 */
import { Result, Schema } from "effect";
import type { AdminAnswer, AdminRoute } from "./serve_admin.ts";

/** A body that has no keys. */
export const emptyBody: Schema.Codec<object> = Schema.Struct({});

/** What a route does, in one line, and the schema of its body. */
export interface JsonRouteInit<A> {
  readonly summary: string;
  readonly body: Schema.Codec<A>;
}

/** Calls `act` with a body that fits the schema. Another body, also one with a further key, is answered with `wrong-body`. */
export function jsonRoute<A>(
  { summary, body: schema }: JsonRouteInit<A>,
  act: (body: A) => AdminAnswer | Promise<AdminAnswer>,
): AdminRoute {
  const decode = Schema.decodeUnknownResult(schema, { onExcessProperty: "error" });
  const route = async (body: unknown): Promise<AdminAnswer> => {
    const decoded = decode(body);
    if (Result.isSuccess(decoded)) return await act(decoded.success);
    return { status: 400, body: { code: "wrong-body", error: decoded.failure.message } };
  };
  return Object.assign(route, { summary, schema });
}
