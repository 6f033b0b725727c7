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
import type { TrainerLink } from "../trainer_link.ts";
import type { Web } from "./web_request.ts";

/** Where a trainer's job stands. Its worker counts, for the labels of its pushes and of the results that it takes. */
export interface RoundCount {
  /** Counted from 1. A result that was received whole begins the next round. */
  round: number;
  /** Samples that the job reported in this round. */
  samples: number;
}

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
  /** Milliseconds by a clock that makes no steps; only differences count. */
  readonly now: Ports["now"];
  readonly random: Ports["random"];
  readonly web: Web;
  /** Changed by the routes. */
  readonly count: RoundCount;
  /** Undefined where the scheduler does not keep the training's model. */
  readonly link?: TrainerLink | undefined;
}
