/**
 * The type of a route of a CA's admin socket.
 *
 * @module
 */
import type { Effect, Schema } from "effect";
import type { AdminRoute } from "../admin/serve_admin.ts";
import type { CaRefused } from "./ca_refused.ts";
import type { CertificateAuthority } from "./certificate_authority.ts";
import type { RegisterFailure } from "./register_failure.ts";

/** What a route does. */
export type RouteOutcome = Effect.Effect<unknown, CaRefused | RegisterFailure>;

/** Makes a route whose refusals are answers. */
export type MakeRoute = <A>(
  summary: string,
  body: Schema.Codec<A>,
  act: (ca: CertificateAuthority, body: A, at: Date) => RouteOutcome,
) => AdminRoute;
