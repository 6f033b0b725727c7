/**
 * The bridge's answers to refused and failed requests.
 *
 * @module
 */
import { Data } from "effect";
import type { TransportError } from "../../../transport/port.ts";
import type { PathError } from "../../files/path_refused.ts";

/** Codes of the JSON errors; the first four are the existing workers'. */
export type ProblemCode =
  | "invalid_request"
  | "connector_error"
  | "network_error"
  | "io_error"
  | "unauthorized"
  | "job-scope"
  | "busy"
  | "internal_error";

/**
 * A refused or failed request. `error` is absent where the existing workers answer in plain text. It is no `Error`, because each
 * refused request would cost a stack trace.
 */
export class BridgeProblem extends Data.TaggedClass("BridgeProblem")<{
  readonly status: number;
  readonly error: ProblemCode | undefined;
  readonly detail: string;
}> {
  get message(): string {
    return `Cannot serve job request (${this.status}${
      this.error === undefined ? "" : ` ${this.error}`
    }): ${this.detail}`;
  }
}

/** 400: the request is not allowed. */
export function invalidRequest(detail: string): BridgeProblem {
  return new BridgeProblem({ status: 400, error: "invalid_request", detail });
}

/** 403: the job's specification, or its worker's configuration, does not name it. */
export function outOfScope(detail: string): BridgeProblem {
  return new BridgeProblem({ status: 403, error: "job-scope", detail });
}

/** 500: the other end (a web server, a peer) failed. */
export function connectorFailed(detail: string): BridgeProblem {
  return new BridgeProblem({ status: 500, error: "connector_error", detail });
}

/** 500: the scheduler did not answer. */
export function networkFailed({ code, detail }: TransportError): BridgeProblem {
  return new BridgeProblem({ status: 500, error: "network_error", detail: `no answer (${code}): ${detail}` });
}

/** 503: the job has too many requests or copies running. */
export function busy(detail: string): BridgeProblem {
  return new BridgeProblem({ status: 503, error: "busy", detail });
}

/** A plain-text answer: 400 no JSON, 408, 413, 415, 422 wrong shape. */
export function plainProblem(status: 400 | 408 | 413 | 415 | 422, detail: string): BridgeProblem {
  return new BridgeProblem({ status, error: undefined, detail });
}

/** 400 for a path that is not allowed, 500 for a file system that fails. */
export function pathProblem(error: PathError): BridgeProblem {
  return error._tag === "PathRefused"
    ? invalidRequest(error.detail)
    : new BridgeProblem({ status: 500, error: "io_error", detail: error.detail });
}

/** A copy from or to a peer that failed. */
export function copyProblem(error: PathError | TransportError): BridgeProblem {
  return error._tag === "TransportError" ? connectorFailed(`${error.code}: ${error.detail}`) : pathProblem(error);
}
