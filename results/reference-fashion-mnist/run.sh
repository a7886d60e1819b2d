#!/bin/sh
# The reference run, again: into results/reference-again/. Each command continues where it was cut.
set -eu
cd "$(dirname "$0")/../.."
study=reference-again
front=results/$study/front.json
# 20 epochs of the full recipe; each family of networks takes the best of three learning rates.
full="--epochs 20 --learning-rate 0.1,0.2,0.4"

python runners/search.py --study $study --budget 200 --dataset fashion-mnist --max-macs 4M

# The knee with its pointwise twin of equal cost, then the best of each octave of multiply-adds.
python runners/retrain.py $front --select knee --reference equal-cost-twin $full
python runners/retrain.py $front --select best-per-octave $full
# The middle two and their twins, with two seeds.
python runners/retrain.py $front --select under:1M --seeds 2 --reference equal-cost-twin $full
python runners/retrain.py $front --select under:2M --seeds 2 --reference equal-cost-twin $full
# MobileNetV2 of the nearest cost: its least width, 0.05, has 3.9 M multiply-adds.
python runners/retrain.py $front --select top:1 --reference mobilenetv2-scaled \
  --epochs 20 --learning-rate 0.1

# The best network of at most 2 M multiply-adds, for all 60 epochs of the recipe.
mkdir -p results/$study/60-epochs
cp $front results/$study/60-epochs/
python runners/retrain.py results/$study/60-epochs/front.json --select under:2M \
  --learning-rate 0.1 --export onnx,torch
