/**
 * The names under which members fetch a training's model from its scheduler.
 *
 * @module
 */

/** The data set that stands for the parameters of a training. */
export const weightsDataset = (trainingId: string): string => `hypha:weights/${trainingId}`;
/** The data set that stands for the velocity of a training, which its aggregator continues with. */
export const velocityDataset = (trainingId: string): string => `hypha:velocity/${trainingId}`;

/** The data set that stands for the newest round's result, which an aggregator sends to trainers that missed it. */
export const resultDataset = (trainingId: string): string => `hypha:result/${trainingId}`;

/** A fetched file is named by its index: those of a model begin above those of all slices. */
const roundIndexMin = 4_294_967_296;

/** The index of a round's model. */
export const indexOfRound = (round: number): number => roundIndexMin + round;

/** The training whose parameters or velocity a data set stands for; undefined for any other data set. */
export function trainingOfDataset(dataset: string): string | undefined {
  return /^hypha:(?:weights|velocity|result)\/(.+)$/.exec(dataset)?.[1];
}
/** The round of an index; undefined for the index of a slice. */
export const roundOfIndex = (index: number): number | undefined =>
  index < roundIndexMin ? undefined : index - roundIndexMin;
