#!/bin/sh
# The reference run, again: into results/reference-again-*/. Each command continues where it was cut.
set -eu
cd "$(dirname "$0")/../.."
limits="--budget 200 --dataset fashion-mnist --max-macs 4M"
# 6 epochs of the full recipe, three seeds. Each family of networks takes the best of its learning
# rates, and of further ones while the best is the least or the greatest. The recipe of the files
# here did not clip gradients yet.
full="--epochs 6 --seeds 3 --reference equal-cost-twin"

# Three whole searches, and one of networks without DCT.
python runners/search.py --study reference-again --seed 0 $limits
python runners/search.py --study reference-again-seed-1 --seed 1 $limits
python runners/search.py --study reference-again-seed-2 --seed 2 $limits
python runners/search.py --study reference-again-pointwise --seed 0 $limits \
  --space results/reference-fashion-mnist/pointwise.yaml

# Four networks of the first front over its range of cost, each with a pointwise twin of equal cost.
python runners/retrain.py results/reference-again/front.json --select spread:4 \
  --learning-rate 0.1,0.2,0.4 $full
# The other way: two networks of the pointwise front, each with a DCT twin of equal cost; the rates
# are those around 0.8, which was the best above.
python runners/retrain.py results/reference-again-pointwise/front.json --select knee,under:2M \
  --learning-rate 0.4,0.8,1.6 $full
