#!/usr/bin/env bash
# The ablation of docs/guides/train.md: every row and seed is a run of `irn-x4-tiny`; prints each row's mean at the end.
#   weights/ablation.sh FOLDER [FOLDER ...]     what is done already is not done again; OPTIONS adds to each run
set -euo pipefail
[ $# -gt 0 ] || { echo "expected folders of training pictures" >&2; exit 2; }
folders=()
for folder in "$@"; do folders+=(-d "$folder"); done
row() {
  name=$1 seeds=$2
  shift 2
  logs=()
  for seed in $seeds; do
    run=runs/ablation/$name-$seed
    # shellcheck disable=SC2086
    rescale train irn-x4-tiny "${folders[@]}" -o "$run" --set "seed=$seed" "$@" ${OPTIONS:-} >&2
    logs+=("$run/log.csv")
  done
  tail -qn 1 "${logs[@]}" | awk -F, -v name="$name" \
    '{hr += $4; lr += $5} END {printf "| %s | %.2f | %.2f |\n", name, hr / NR, lr / NR}'
}
echo "| row | restored | small picture against bicubic |"
echo "| --- | --- | --- |"
row zero "10 11 12"
row drawn "10 11 12" --set config.up_std=1.0 --set loss.latent=0.9375
row second-latent-a "10 11 12" --set config.latents=2
row second-latent-b "10 11 12" --set config.latents=2 --set config.down_std=1.0
row guidance-quarter "10 11" --set loss.guide=0.25
row guidance-sixteenth "10 11" --set loss.guide=0.0625
