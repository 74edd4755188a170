// Sound as models hear it: mono, 16,000 samples a second. Files are decoded by the browser.

import { KingletError } from './errors.js';

export const SAMPLE_RATE = 16_000;

/** Samples of a file, a decoded sound, or samples that are ready; in Node, of the last alone. */
export async function samplesOf(given) {
  if (given instanceof Float32Array) return given;
  if (typeof OfflineAudioContext === 'undefined') {
    throw new KingletError('invalid-option', `the sound must be a Float32Array of ${SAMPLE_RATE} samples a second here; only pages can decode others`);
  }
  if (given instanceof AudioBuffer) return heard(given);
  if (given instanceof Blob) return heard(await decoded(given));
  throw new KingletError('invalid-option', `the sound must be a File, Blob, AudioBuffer or Float32Array, not ${typeof given}`);
}

/** At our rate, whatever the file's is: the context's rate is what browsers decode to. */
async function decoded(blob) {
  const bytes = await blob.arrayBuffer();
  const name = blob.name ?? 'the sound';
  if (bytes.byteLength === 0) throw new KingletError('not-audio', `${name} is empty`);
  try {
    return await new OfflineAudioContext(1, 1, SAMPLE_RATE).decodeAudioData(bytes);
  } catch (error) {
    throw new KingletError('not-audio', `${name} is no sound that this browser knows (${error.message})`);
  }
}

/** All channels as one, at our rate. */
async function heard(buffer) {
  const length = Math.max(1, Math.ceil(buffer.duration * SAMPLE_RATE));
  if (buffer.sampleRate === SAMPLE_RATE) return mixed(buffer);
  const context = new OfflineAudioContext(buffer.numberOfChannels, length, SAMPLE_RATE);
  const source = new AudioBufferSourceNode(context, { buffer });
  source.connect(context.destination);
  source.start();
  return mixed(await context.startRendering());
}

/** The mean of all channels. */
function mixed(buffer) {
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, i) => buffer.getChannelData(i));
  const [first, ...others] = channels;
  if (others.length === 0) return first;
  const mean = first.slice();
  for (const other of others) for (let i = 0; i < mean.length; i++) mean[i] += other[i];
  for (let i = 0; i < mean.length; i++) mean[i] /= channels.length;
  return mean;
}
