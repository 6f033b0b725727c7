#!/usr/bin/env -S node --disable-warning=ExperimentalWarning
/** `hypha`: all programs in one, and `hypha up`. */
import { startNamed } from "./program/start_named.ts";

await startNamed();
