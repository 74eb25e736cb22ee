#!/usr/bin/env bash
# Every file in results/: three seeds of each recipe (hours on 2 cores; a killed call goes on where it was).
# BITSPIKE_DATA must hold mnist/ and nmnist/ (or nmnist-small/). Usage: bash docs/make_results.sh [RECIPE...]
set -euo pipefail
cd "$(dirname "$0")/.."
recipes=("$@")
if [ ${#recipes[@]} -eq 0 ]; then
  for family in digits two-moons regression-1d mnist mnist-conv nmnist; do
    recipes+=("$family-full" "$family-st" "$family-bayes")
  done
  recipes+=(digits-rows-hybrid mackey-glass-hybrid psmnist-parallel psmnist-lmu psmnist-hybrid psmnist-lstm psmnist-gru)
fi
for recipe in "${recipes[@]}"; do
  .venv/bin/bitspike train "$recipe" --seeds 3 --resume
  .venv/bin/bitspike results runs/"$recipe"-seed-[0-2] --out results
done
