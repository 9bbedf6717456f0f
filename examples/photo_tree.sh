#!/usr/bin/env bash
# A photographer's folder: clean pictures beside the originals' tree, softly, and a web copy of each as JPEG.
#
#   photo_tree.sh ~/Pictures/2024 ~/Pictures/2024-clean
#
# EXIF (with orientation and date), ICC profiles, 16 bit and the names of folders are kept; originals are only read. A
# picture that is damaged is named and keeps no other from being done; the exit code is 1 then.
set -euo pipefail

in=${1:?usage: photo_tree.sh IN OUT}
out=${2:?usage: photo_tree.sh IN OUT}
out=${out%/} # so that the web copies lie beside it
[[ $in == -* ]] && in=./$in # names that begin with "-" are no options
[[ $out == -* ]] && out=./$out

worst=0
clean() {
    denoiser run "$@" || worst=$?
    [ "$worst" -le 1 ] || exit "$worst"
}

# A strength of 0.8 leaves a little grain. Previews and rejected pictures stay out.
how=(--strength 0.8 --exclude '*_preview.*' --exclude rejected)

# What would happen, and what a format would lose? Nothing is written yet.
clean "$in" "$out" "${how[@]}" --dry-run
clean "$in" "$out" "${how[@]}"

# The web copies: all JPEG. Converting 16-bit files loses depth, which the run says.
clean "$in" "$out-web" "${how[@]}" --format jpeg --quality 85
exit "$worst"
