#!/usr/bin/env bash
# Every file in results/: three seeds of each recipe (hours on 2 cores; a killed call goes on where it was).
# BITSPIKE_DATA must hold mnist/, nmnist/ (or nmnist-small/) and cifar-10-batches-py/.
# Usage: bash docs/make_results.sh [RECIPE...]
set -euo pipefail
cd "$(dirname "$0")/.."
as_spikes() {
  for run in "$@"; do .venv/bin/bitspike evaluate "$run" --spiking --split test --time 200 --window 100; done
}
recipes=("$@")
if [ ${#recipes[@]} -eq 0 ]; then
  for family in digits two-moons regression-1d mnist mnist-conv nmnist; do
    recipes+=("$family-full" "$family-st" "$family-bayes")
  done
  recipes+=(digits-bntt digits-rows-recurrent digits-rows-hybrid mackey-glass-hybrid soft-lif-digits psmnist-parallel psmnist-lmu psmnist-hybrid psmnist-lstm psmnist-gru)
fi
if [ $# -eq 0 ]; then
  # Ordinary networks, one seed each, and their curve as spiking ones.
  for recipe in cnn-mnist cnn-cifar10; do
    .venv/bin/bitspike train "$recipe" --resume
    .venv/bin/bitspike hybridise runs/"$recipe" --limit 1 --steps 1,2 --counts 0.5,1,2,3,4,6,8,15
    .venv/bin/bitspike evaluate runs/"$recipe" --spiking --split test --time 64
    .venv/bin/bitspike results runs/"$recipe" --out results --overwrite
  done
  # Soft rates, two seeds each, and their answers as spikes.
  for recipe in soft-lif-mnist soft-lif-cifar10; do
    .venv/bin/bitspike train "$recipe" --seeds 2 --resume --precision bf16-mixed
    as_spikes runs/"$recipe"-seed-[0-1]
    .venv/bin/bitspike results runs/"$recipe"-seed-[0-1] --out results --overwrite
  done
  # One network again with rounded products, in a folder of its own: an evaluation replaces the one before it.
  rm -rf runs/soft-lif-cifar10-bfloat16
  cp -r runs/soft-lif-cifar10-seed-1 runs/soft-lif-cifar10-bfloat16
  .venv/bin/bitspike evaluate runs/soft-lif-cifar10-bfloat16 --spiking --split test --time 200 --window 100 --products bfloat16
  .venv/bin/bitspike results runs/soft-lif-cifar10-bfloat16 --out results/soft-lif-cifar10-bfloat16.json --overwrite
  .venv/bin/python docs/noise_study.py
fi
for recipe in "${recipes[@]}"; do
  if [[ $recipe == mnist-full || $recipe == mnist-st || $recipe == mnist-bayes ]]; then
    # Seeds that were not looked at while these were made; energy of every test image.
    for seed in 10 11 12; do
      .venv/bin/bitspike train "$recipe" --seed "$seed" --resume --set evaluation.energy_examples=10000
    done
    .venv/bin/bitspike results runs/"$recipe"-seed-1[0-2] --out results --overwrite
    continue
  fi
  .venv/bin/bitspike train "$recipe" --seeds 3 --resume
  if [[ $recipe == soft-lif-* ]]; then as_spikes runs/"$recipe"-seed-[0-2]; fi
  .venv/bin/bitspike results runs/"$recipe"-seed-[0-2] --out results --overwrite
done
