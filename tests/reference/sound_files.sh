#!/usr/bin/env bash
# Two seconds of tests/goldens/whisper/english.flac in other formats, for the command's tests: tests/goldens/sound.
# Needs ffmpeg.
set -euo pipefail
cd "$(dirname "$0")/../goldens"
make() {
  ffmpeg -v error -y -ss 0.5 -t 2 -i whisper/english.flac -bitexact -map_metadata -1 "${@:2}" "sound/$1"
}
make speech.mp3 -ar 22050 -b:a 32k -id3v2_version 3 -write_id3v2 1
make speech.ogg -ar 22050 -c:a libvorbis -q:a 0
make speech.m4a -ar 22050 -ac 2 -c:a aac -b:a 48k
make speech.opus -c:a libopus -b:a 16k
