# Starts the program with the name of the calling command: on the pinned Node, which ensure.mjs installs first, or on Deno
# where PATH has no Node. The last step is an exec, so signals reach the program itself.
scripts=$(dirname "$0")/..
program=$scripts/$(basename "$0" | tr - _).ts
if command -v node >/dev/null 2>&1; then
  node "$scripts/ensure.mjs" || exit 1
  exec "$scripts/../node_modules/.bin/node" --no-warnings "$program" "$@"
fi
if command -v deno >/dev/null 2>&1; then
  exec deno run -A --quiet --no-check "$program" "$@"
fi
echo "Cannot start $(basename "$0"): neither node nor deno is on PATH" >&2
exit 1
