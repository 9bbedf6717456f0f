#!/usr/bin/env bash
# Denoise what came in during the day. For cron:
#
#   30 2 * * *  /opt/denoiser/nightly.sh /data/incoming /data/clean
#
# The script prints nothing when all is well, so that cron sends no mail. Otherwise it prints one line that says what
# happened and the last lines of the log. Options for `denoiser run` may follow the two folders.
set -uo pipefail

in=${1:?usage: nightly.sh IN OUT [options of denoiser run]}
out=${2:?usage: nightly.sh IN OUT [options of denoiser run]}
out=${out%/} # so that the log lies beside it
[[ $in == -* ]] && in=./$in # names that begin with "-" are no options
[[ $out == -* ]] && out=./$out
shift 2
log=${DENOISER_NIGHTLY_LOG:-$out.log}

# A minute of age leaves out files that are still being copied; the run ends before the working day begins.
# The lock in OUT keeps two nights apart, and a second run does only what is new.
denoiser run "$in" "$out" --min-age 1m --max-runtime 4h --log-file "$log" --quiet "$@"
code=$?

case $code in
    0)
        # Outputs that somebody else made or changed stay as they are, every night, until a person decides.
        tail -n 1 "$log" 2>/dev/null | grep -q "left alone" || exit 0
        say="outputs that are not its own were left alone"
        ;;
    1) say="some pictures could not be denoised; all others are done" ;;
    3) say="there is no picture in $in" ;;
    4) say="the model or the device is missing" ;;
    5) say="$out cannot be written: is the disk full?" ;;
    6) exit 0 ;; # the time was up; the next night goes on
    7) say="the last run is still working" ;;
    2) say="the call is wrong" ;;
    127) say="denoiser is not on the PATH of cron, which is $PATH" ;;
    130 | 143) say="the run was interrupted; the next one goes on" ;;
    137) say="the run was killed, perhaps for want of memory (see --max-memory); the next one goes on" ;;
    *) say="the run ended unexpectedly" ;;
esac
echo "denoiser, $(date '+%F %R'): $say (exit code $code). The end of $log:"
tail -n 20 "$log" 2>/dev/null
exit "$code"
