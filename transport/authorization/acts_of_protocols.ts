/**
 * Which act it is to send a request or to open a stream. Exhaustive by type: a protocol or variant without a row does not compile.
 *
 * @module
 */
import { Result } from "effect";
import type { ApiRequest, Message, MessageProtocol } from "../protocols/messages.ts";
import { MalformedMessage, quoted } from "../protocols/malformed.ts";
import { variantOf } from "../protocols/mod.ts";
import type { StreamProtocol } from "../protocols/stream_protocols.ts";
import type { MemberRole } from "../../pki/certificate.ts";
import { type Act, actNames, rowOf } from "./acts.ts";

type VariantOf<Union> = Union extends unknown ? keyof Union : never;

const apiActs = {
  WorkerOffer: "worker.offer",
  RenewLease: "lease.renew",
  JobStatus: "job.status",
  DispatchJob: "job.dispatch",
  Data: "data.ask",
} as const satisfies Readonly<Record<VariantOf<ApiRequest>, Act>>;

const requestActs = {
  "/hypha-health/0.0.1": "health",
  "/hypha-api/0.0.1": apiActs,
  "/hypha-progress/0.0.1": "progress",
  "/hypha-training/1": "training",
  "/hypha-crl/1": "crl",
  "/hypha-audit/1": "audit",
} as const satisfies Readonly<Record<MessageProtocol, Act | typeof apiActs>>;

const streamActs = {
  "/hypha-tensor-stream/pull": "slice.pull",
  "/hypha-tensor-stream/push": "file.push",
  "/hypha-tensor-stream/pull/2": "slice.pull",
  "/hypha-tensor-stream/push/2": "file.push",
} as const satisfies Readonly<Record<StreamProtocol, Act>>;

/**
 * The act of a request of a peer. Its content isn't decoded: that takes time, which no request gets whose sender may not send it.
 *
 * @returns A failure where the request names no variant that has an act.
 */
export function actOfBytes(protocol: MessageProtocol, bytes: Uint8Array): Result.Result<Act, MalformedMessage> {
  const entry: Act | Readonly<Record<string, Act>> = requestActs[protocol];
  if (typeof entry === "string") return Result.succeed(entry);
  return Result.flatMap(variantOf(bytes), (variant) => {
    const act = Object.hasOwn(entry, variant) ? entry[variant] : undefined;
    if (act !== undefined) return Result.succeed(act);
    return Result.fail(new MalformedMessage({ path: "", reason: `unknown variant ${quoted(variant)}` }));
  });
}

/** The act of a request of ours; undefined where it has no row, so that it is refused. */
export function actOfRequest(protocol: MessageProtocol, request: Message): Act | undefined {
  const entry: Act | Readonly<Record<string, Act>> = requestActs[protocol];
  if (typeof entry === "string") return entry;
  const [variant = ""] = Object.keys(request);
  return Object.hasOwn(entry, variant) ? entry[variant] : undefined;
}

/** Whom the asks of an act are meant for; undefined: any member. */
const targets = new Map(
  actNames.flatMap((act) => {
    const { receivedBy } = rowOf(act);
    return receivedBy === "all" ? [] : [[act, { roles: receivedBy }] as const];
  }),
);

/** The roles of nodes that this act is done to; undefined: any member's. */
export function receiversOf(act: Act): { readonly roles: readonly MemberRole[] } | undefined {
  return targets.get(act);
}

/** The act of opening a stream. */
export function actOfStream(protocol: StreamProtocol): Act {
  return streamActs[protocol];
}
