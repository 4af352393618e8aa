#!/usr/bin/env bash
# Train on another machine, such as one with a GPU, from what `make pack` made; needs the packages that pyproject.toml
# names, and no network.
#   tar xf pack.tar && weights/away.sh RECIPE MINUTES OUT [more options of `rescale train`]
# OUT gets the log, the curve and the weights, cut into parts under 16 MiB: cat best.safetensors.* > best.safetensors
set -euo pipefail
recipe=$1 minutes=$2 out=$3
shift 3
cd "$(dirname "$0")/.."
folders=()
for folder in pictures/*/; do folders+=(-d "$folder"); done
device=$(python3 -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')
python3 -m rescale train "$recipe" "${folders[@]}" -o "runs/$recipe" --minutes "$minutes" --device "$device" "$@"
mkdir -p "$out"
cp "runs/$recipe/log.csv" "$out/"
[ ! -f "runs/$recipe/curve.png" ] || cp "runs/$recipe/curve.png" "$out/"
split -b 15m "runs/$recipe/best.safetensors" "$out/best.safetensors."
