// Hands the first channel of the microphone to sound.mjs, piece by piece, in the audio's thread.

class Recorder extends AudioWorkletProcessor {
  process([channels]) {
    if (channels[0]) this.port.postMessage(channels[0].slice());
    return true;
  }
}

registerProcessor("recorder", Recorder);
