/**
 * The keys that only a scheduler's configuration has: the training job.
 *
 * @module
 */
import { Schema } from "effect";
import { readPattern } from "../../transport/authorization/rules.ts";
import { modelTasks, preprocessorTasks } from "../../transport/protocols/schemas.ts";
import { updatesMax } from "../learning/mod.ts";
import { aggregationDefault, executorsDefault, roundsDefault } from "./defaults.ts";
import { tomlOf } from "./settings.ts";
import {
  amount,
  between,
  flag,
  fraction,
  integer,
  list,
  note,
  oneOf,
  optional,
  path,
  readable,
  text,
  textCharactersMax,
} from "./notes.ts";

const modelOf = <const L extends readonly string[]>(tasks: L, type: string, expected: string) =>
  Schema.Struct({
    repository: text({
      expected: "a repository's name",
      example: '"acme/model"',
      description: "Hugging Face repository.",
    }),
    revision: optional(
      text({
        expected: "a revision",
        example: '"main"',
        description: "Revision of it; the newest where this is not set.",
      }),
    ),
    filenames: list(Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(textCharactersMax)), {
      expected: "a list of file names",
      example: '["model.safetensors"]',
      description: "Files that are fetched from it.",
    }),
    token: optional(
      text({
        expected: "an access token",
        example: '"hf_…"',
        description: "Access token; every worker of the job gets it.",
        secret: true,
      }),
    ),
    type: oneOf(tasks, type, "What it is for; the worker's executor wants to know.", { expected }),
    input_names: list(Schema.String.check(Schema.isMaxLength(textCharactersMax)), {
      expected: "a list of texts",
      example: '["pixel_values"]',
      description: "Names of its inputs.",
    }),
  });
const task =
  "a task of the existing nodes, such as image-classification or causal-lm (all are in docs/configuration.md)";
const hubModel = modelOf(modelTasks, '"image-classification"', task).fields;
/** A model of a repository, or weights of one's own: `rules.ts` wants one of the two. */
const model = Schema.Struct({
  weights: optional(
    path(
      "Weights to begin with (safetensors), in place of a repository; the scheduler then keeps the model.",
      '"init.safetensors"',
    ),
  ),
  keep: optional(
    flag(
      "false",
      "Whether the scheduler fetches the weights of the repository too and keeps the model. It needs the digits of a commit as the revision and one file *.safetensors.",
    ),
  ),
  ...hubModel,
  repository: optional(hubModel.repository),
  filenames: optional(hubModel.filenames),
});
const preprocessor = modelOf(preprocessorTasks, '"image"', `one of ${preprocessorTasks.join(", ")}`);

const resources = (of: string) =>
  Schema.Struct({
    cpu: amount("1.0", `${of}: cores.`),
    memory: amount("1.0", `${of}: GB of memory.`),
    storage: amount("1.0", `${of}: GB of storage.`),
    gpu: amount("0.0", `${of}: GB of GPU memory.`),
  });
const price = (of: string) =>
  Schema.Struct({
    bid: amount("1.0", `${of}: what is offered.`),
    max: amount("2.0", `${of}: highest price that is paid; it is not announced.`),
  });

/** Adam divides by 1 less its power. */
const decayRate = (example: string) =>
  note(Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0), Schema.isLessThan(1)), {
    expected: "a number from 0 to below 1",
    example,
    description: "",
  });
const rate = amount("0.001", "Learning rate.");
/** `[scheduler.job]`. */
export const job = Schema.Struct({
  type: oneOf(["diloco"], '"diloco"', "Kind of training."),
  model,
  preprocessor: optional(preprocessor),
  dataset: Schema.Struct({
    dataset: text({ expected: "a dataset's name", example: '"digits"', description: "Name a data node announces." }),
  }),
  inner_optimizer: Schema.Struct({
    "learning-rate": rate,
    betas: optional(
      note(Schema.Tuple([decayRate("0.9"), decayRate("0.999")]), {
        expected: "two numbers from 0 to below 1",
        example: "[0.9, 0.999]",
        description: "Adam's decay rates.",
      }),
    ),
    epsilon: optional(
      note(Schema.Finite.check(Schema.isGreaterThan(0)), {
        expected: "a number over 0",
        example: "1e-8",
        description: "Adam's epsilon.",
      }),
    ),
  }),
  outer_optimizer: Schema.Struct({
    "learning-rate": rate,
    momentum: fraction("0.9", "Nesterov's momentum."),
  }),
  resources: Schema.Struct({
    num_workers: integer(1, updatesMax, "2", "Trainers to look for."),
    min_trainers: optional(
      integer(
        1,
        updatesMax,
        "1",
        "With fewer trainers a training whose model the scheduler keeps waits for others. Where it is set, such a training begins with so many if no more are found.",
      ),
    ),
    wait_s: optional(
      integer(
        1,
        31_536_000,
        "86400",
        "How long such a training waits for an aggregator and trainers before it fails.",
      ),
    ),
    aggregator: optional(
      readable(readPattern, {
        expected: "a pattern such as spiffe://acme.example/worker/*, peer:PEERID or name:NAME",
        example: '"spiffe://acme.example/worker/*"',
        description:
          "Workers that may aggregate, which see every update and decide what it becomes; where this is not set, those of the scheduler's own trust domain (all where it has none).",
      }),
    ),
    foreign: optional(
      flag(
        "true",
        "Whether workers of the existing network may take part where the model has weights: their executors have to fetch these from the scheduler. Where it is not set, such a worker is out with its first report.",
      ),
    ),
    absence_s: optional(
      integer(
        1,
        10,
        "10",
        "A member whose connection is closed for so long is out; a lease that is not renewed for ten seconds ends in any case.",
      ),
    ),
    silence_s: optional(
      integer(
        30,
        604_800,
        "900",
        "A trainer that neither reports nor uses its bridge for so long is out. Loading a model, and the first steps, must be shorter.",
      ),
    ),
    worker: resources("A trainer"),
    parameter_server: resources("The parameter server"),
    worker_price: price("A trainer"),
    parameter_server_price: price("The parameter server"),
  }),
  rounds: Schema.Struct({
    update_rounds: integer(1, 1_000_000, "10", "Rounds of outer updates."),
    avg_samples_between_updates: integer(1, 1_000_000_000, "1200", "Samples of all trainers together in a round."),
    max_batch_size: optional(
      integer(
        1,
        1_000_000,
        "32",
        "Rows of a batch at most. A batch has as many as the `gpu` of `worker` fits into the GPU memory of a trainer's lease; where it asks for none, as many as this, or 32.",
      ),
    ),
    keep_rounds: optional(
      integer(1, 1_000, tomlOf(roundsDefault.keepRounds), "Rounds of the model that are kept, where it has weights."),
    ),
  }),
  aggregation: optional(Schema.Struct({
    method: optional(
      oneOf(
        ["mean", "trimmed-mean"],
        tomlOf(aggregationDefault.method),
        "How updates are joined. trimmed-mean drops the largest and the smallest values of each element, from three updates on.",
      ),
    ),
    trim: optional(
      between(
        [0, 0.49],
        tomlOf(aggregationDefault.trim),
        "Part of the values that trimmed-mean drops at each end, one at least.",
      ),
    ),
    clip_norm_ratio: optional(
      between(
        [1, 1_000],
        tomlOf(aggregationDefault.clipNormRatio),
        "An update that is so many times as long as the round's median is scaled down to that.",
      ),
    ),
    max_norm_ratio: optional(
      between(
        [1, 1_000_000],
        tomlOf(aggregationDefault.maxNormRatio),
        "An update that is so many times as long as the round's median is rejected, and its trainer is out.",
      ),
    ),
    quorum: optional(
      between(
        [0.01, 1],
        tomlOf(aggregationDefault.quorum),
        "Part of the trainers whose updates are enough at round_deadline_s; below 1 the others' updates of the round do not count.",
      ),
    ),
    round_deadline_s: optional(
      integer(
        60,
        604_800,
        tomlOf(aggregationDefault.roundDeadlineS),
        "No round for so long names the member that it waits for; twice as long drops it.",
      ),
    ),
  })),
  executors: optional(Schema.Struct({
    train: optional(
      text({
        expected: "an executor's name",
        example: JSON.stringify(executorsDefault.train),
        description: "Executor that trains.",
      }),
    ),
    aggregate: optional(
      text({
        expected: "an executor's name",
        example: JSON.stringify(executorsDefault.aggregate),
        description: "Executor that aggregates.",
      }),
    ),
  })),
  evaluation: optional(Schema.Struct({
    held_out: path("Rows held out of training: each round's model is evaluated on them.", '"held-out.csv"'),
    executor: optional(
      text({
        expected: "an executor's name",
        example: '"digits"',
        description:
          "Executor of the scheduler that evaluates, for a model with weights; by default the models of this tree are known.",
      }),
    ),
  })),
});
