// The microphone, as samples that models hear.

const SAMPLE_RATE = 16_000;

/** Samples that are handed on together: a fifth of a second. */
const BLOCK = SAMPLE_RATE / 5;

/** Runs where sound is made: collects what comes. */
const COLLECTOR = `registerProcessor('collector', class extends AudioWorkletProcessor {
  #block = new Float32Array(${BLOCK});
  #n = 0;
  process([[samples]]) {
    for (const x of samples ?? []) {
      this.#block[this.#n++] = x;
      if (this.#n < this.#block.length) continue;
      this.port.postMessage(this.#block);
      this.#n = 0;
    }
    return true;
  }
});`;

/** Listens until `close`: `onSamples` gets mono sound of 16,000 samples a second. */
export async function openMicrophone(onSamples) {
  const audio = { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true };
  const stream = await navigator.mediaDevices.getUserMedia({ audio });
  const context = new AudioContext({ sampleRate: SAMPLE_RATE });
  const close = async () => {
    stream.getTracks().forEach((track) => track.stop());
    await context.close();
  };
  const script = URL.createObjectURL(new Blob([COLLECTOR], { type: 'text/javascript' }));
  try {
    await context.audioWorklet.addModule(script);
    const collector = new AudioWorkletNode(context, 'collector', { numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' });
    collector.port.onmessage = ({ data }) => onSamples(data);
    new MediaStreamAudioSourceNode(context, { mediaStream: stream }).connect(collector);
    await context.resume();
    return { close };
  } catch (error) {
    await close();
    throw error;
  } finally {
    URL.revokeObjectURL(script);
  }
}
