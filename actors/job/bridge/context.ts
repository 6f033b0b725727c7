/**
 * The context that the bridge's routes share: the job, its network, its directory and its limits.
 *
 * @module
 */
import type { Peer, Uuid } from "../../../transport/protocols/messages.ts";
import type { Ports } from "../../runtime/ports.ts";
import type { JobLimits } from "../limits.ts";
import type { JobNetwork } from "../network.ts";
import type { WorkDirectory } from "../../files/contained_files.ts";
import type { JobScope } from "../scope.ts";
import type { Web } from "./web_request.ts";

/** The context of one job's bridge. */
export interface BridgeContext {
  readonly directory: WorkDirectory;
  readonly jobId: Uuid;
  /** Receives the progress. */
  readonly scheduler: Peer;
  readonly scope: JobScope;
  readonly network: JobNetwork;
  readonly limits: JobLimits;
  readonly report: Ports["report"];
  readonly web: Web;
}
