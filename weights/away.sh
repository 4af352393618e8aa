#!/usr/bin/env bash
# Train on another machine, such as one with a GPU, from what `make pack` made; needs the packages that pyproject.toml
# names, and no network.
#   tar xf pack.tar && weights/away.sh RECIPE MINUTES OUT [more options of `rescale train`]
# OUT gets the log, the curve, the weights and the state, the last two cut into parts under 16 MiB, also where the run
# was stopped: cat best.safetensors.* > best.safetensors; with last.safetensors in runs/RECIPE/ a run goes on.
set -euo pipefail
recipe=$1 minutes=$2 out=$(realpath -m "$3")
shift 3
cd "$(dirname "$0")/.."
run=runs/$(basename "$recipe" .toml)
collect() {
  mkdir -p "$out"
  rm -f "$out"/*.safetensors.*
  for file in log.csv curve.png; do [ ! -f "$run/$file" ] || cp "$run/$file" "$out/"; done
  for file in best last; do
    [ ! -f "$run/$file.safetensors" ] || split -b 15m "$run/$file.safetensors" "$out/$file.safetensors."
  done
}
trap collect EXIT
folders=()
for folder in pictures/*/; do folders+=(-d "$folder"); done
device=$(python3 -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')
python3 -m rescale train "$recipe" "${folders[@]}" -o "$run" --minutes "$minutes" --device "$device" "$@"
