/**
 * Spans of a CA's requests.
 *
 * @module
 */
import type { CaWatch } from "../ca/ca_watch.ts";
import type { Recorder } from "./recorder.ts";

/** Characters of a path that are kept: clients choose it. */
const pathCharactersMax = 200;
/** From this status on a request failed. */
const failedStatusMin = 400;

/** Follows a CA's requests. */
export function traceCa(recorder: Recorder): CaWatch {
  return ({ port, method, path }) => {
    const { traceId, spanId, sampled } = recorder.begin();
    if (!sampled) return () => {};
    const startMs = recorder.now();
    return (status) =>
      recorder.end({
        traceId,
        spanId,
        parentSpanId: undefined,
        name: port === "https" ? "ca.request" : "ca.operation",
        kind: "server",
        startMs,
        endMs: recorder.now(),
        attributes: {
          "http.request.method": method,
          "url.path": path.slice(0, pathCharactersMax),
          "http.response.status_code": status,
        },
        error: status >= failedStatusMin ? String(status) : undefined,
      });
  };
}
